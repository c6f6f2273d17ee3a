//! System tables that describe things which do not exist here: declared, because clients join
//! them, and truly empty.

use base::SqlType::{
    self, AclItemArray, BigInt, Boolean, Int2Vector, Integer, Name, Oid as OidType, OidArray,
    QuotedChar, Real, SmallInt, Text, TextArray, Timestamp,
};

use super::builder::row;
use super::context::SystemContext;
use super::{Rows, Space, SystemTable};

type Columns = &'static [(&'static str, SqlType)];

const fn none(name: &'static str, oid: u32, columns: Columns) -> SystemTable {
    SystemTable::table(name, oid, columns, empty)
}

const fn none_view(name: &'static str, columns: Columns) -> SystemTable {
    SystemTable::view(Space::PgCatalog, name, columns, empty)
}

fn empty(_: &SystemContext) -> Rows {
    Rows::new()
}

pub(crate) static TABLES: &[SystemTable] = &[
    SystemTable::table("pg_collation", 3456, COLLATION, collations),
    none("pg_group", 1261, &[("groname", Name), ("grosysid", Integer), ("grolist", OidArray)]),
    none("pg_auth_members", 0, AUTH_MEMBERS),
    none("pg_inherits", 2611, INHERITS),
    none("pg_trigger", 2620, TRIGGER),
    none("pg_opclass", 2616, OPCLASS),
    none("pg_operator", 2617, OPERATOR),
    none("pg_aggregate", 2600, &[("aggfnoid", OidType), ("aggtransfn", OidType)]),
    none("pg_amop", 2602, &[("amopclaid", OidType), ("amopopr", OidType)]),
    none("pg_amproc", 2603, &[("amopclaid", OidType), ("amproc", OidType)]),
    none("pg_cast", 2605, CAST),
    none("pg_conversion", 2607, &[("conname", Name), ("connamespace", OidType)]),
    none("pg_default_acl", 0, DEFAULT_ACL),
    none("pg_largeobject", 2613, &[("loid", OidType), ("pageno", Integer), ("data", Text)]),
    none("pg_shdepend", 1214, SHDEPEND),
    none("pg_shdescription", 2396, SHDESCRIPTION),
    none("pg_statistic", 2619, &[("starelid", OidType), ("staattnum", SmallInt)]),
    none("pg_statistic_ext", 3381, STATISTIC_EXT),
    none("pg_policy", 3256, POLICY),
    none("pg_publication", 6104, PUBLICATION),
    none("pg_publication_rel", 6106, &[("prpubid", OidType), ("prrelid", OidType)]),
    none("pg_publication_namespace", 6237, &[("pnpubid", OidType), ("pnnspid", OidType)]),
    none("pg_event_trigger", 3466, &[("oid", OidType), ("evtname", Name)]),
    none("pg_foreign_table", 3118, FOREIGN_TABLE),
    none("pg_foreign_server", 1417, FOREIGN_SERVER),
    none("pg_enum", 3501, ENUM),
    none("pg_range", 3541, &[("rngtypid", OidType), ("rngsubtype", OidType)]),
    none("pg_sequence", 2224, &[("seqrelid", OidType), ("seqtypid", OidType)]),
    none("pg_extension", 3079, EXTENSION),
    none("pg_external_schema", 0, EXTERNAL_SCHEMA),
    none("pg_library", 0, &[("name", Name), ("language_oid", OidType), ("owner", OidType)]),
    none("pg_prepared_statements", 0, &[("name", Text), ("statement", Text)]),
    none_view("pg_rules", RULES),
    none_view("pg_matviews", MATVIEWS),
    none_view("pg_sequences", &[("schemaname", Name), ("sequencename", Name)]),
    none_view("svv_external_schemas", SVV_EXTERNAL_SCHEMAS),
    none_view("svv_external_tables", SVV_EXTERNAL_TABLES),
    none_view("svv_external_columns", SVV_EXTERNAL_COLUMNS),
    none_view("svv_external_databases", SVV_EXTERNAL_DATABASES),
    none_view("svv_external_partitions", SVV_EXTERNAL_PARTITIONS),
    none_view("svv_datashares", SVV_DATASHARES),
    none_view("svv_mv_info", SVV_MV_INFO),
    none_view("stv_mv_info", STV_MV_INFO),
    none_view("svv_roles", SVV_ROLES),
    none_view("svv_role_grants", SVV_ROLE_GRANTS),
    none_view("svv_user_grants", SVV_USER_GRANTS),
];

const COLLATION: Columns = &[
    ("oid", OidType),
    ("collname", Name),
    ("collnamespace", OidType),
    ("collowner", Integer),
    ("collencoding", Integer),
    ("collcollate", Name),
    ("collctype", Name),
    ("collprovider", QuotedChar),
];

fn collations(_: &SystemContext) -> Rows {
    let row = |oid: u32, name: &str| {
        row![oid, name, Space::PgCatalog.oid(), 1i32, -1i32, name, name, "c"]
    };
    vec![row(100, "default"), row(950, "C")]
}

const AUTH_MEMBERS: Columns =
    &[("roleid", OidType), ("member", OidType), ("grantor", OidType), ("admin_option", Boolean)];
const INHERITS: Columns = &[("inhrelid", OidType), ("inhparent", OidType), ("inhseqno", Integer)];
const TRIGGER: Columns = &[
    ("oid", OidType),
    ("tgrelid", OidType),
    ("tgname", Name),
    ("tgfoid", OidType),
    ("tgtype", SmallInt),
    ("tgenabled", QuotedChar),
    ("tgisconstraint", Boolean),
    ("tgconstrname", Name),
    ("tgconstrrelid", OidType),
    ("tgisinternal", Boolean),
    ("tgparentid", OidType),
    ("tgconstraint", OidType),
    ("tgdeferrable", Boolean),
    ("tginitdeferred", Boolean),
    ("tgnargs", SmallInt),
    ("tgattr", Int2Vector),
];
const OPCLASS: Columns = &[
    ("oid", OidType),
    ("opcamid", OidType),
    ("opcmethod", OidType),
    ("opcname", Name),
    ("opcnamespace", OidType),
    ("opcowner", Integer),
    ("opcintype", OidType),
    ("opcdefault", Boolean),
    ("opckeytype", OidType),
];
const OPERATOR: Columns = &[
    ("oid", OidType),
    ("oprname", Name),
    ("oprnamespace", OidType),
    ("oprowner", Integer),
    ("oprkind", QuotedChar),
    ("oprleft", OidType),
    ("oprright", OidType),
    ("oprresult", OidType),
    ("oprcode", OidType),
];
const CAST: Columns = &[
    ("oid", OidType),
    ("castsource", OidType),
    ("casttarget", OidType),
    ("castfunc", OidType),
    ("castcontext", QuotedChar),
    ("castmethod", QuotedChar),
];
const DEFAULT_ACL: Columns = &[
    ("oid", OidType),
    ("defacluser", Integer),
    ("defaclnamespace", OidType),
    ("defaclobjtype", QuotedChar),
    ("defaclacl", AclItemArray),
];
const SHDEPEND: Columns = &[
    ("dbid", OidType),
    ("classid", OidType),
    ("objid", OidType),
    ("refclassid", OidType),
    ("refobjid", OidType),
    ("deptype", QuotedChar),
];
const SHDESCRIPTION: Columns = &[("objoid", OidType), ("classoid", OidType), ("description", Text)];
const STATISTIC_EXT: Columns = &[
    ("oid", OidType),
    ("stxrelid", OidType),
    ("stxname", Name),
    ("stxnamespace", OidType),
    ("stxkeys", Int2Vector),
    ("stxkind", TextArray),
];
const POLICY: Columns = &[
    ("oid", OidType),
    ("polname", Name),
    ("polrelid", OidType),
    ("polcmd", QuotedChar),
    ("polpermissive", Boolean),
    ("polroles", OidArray),
    ("polqual", Text),
    ("polwithcheck", Text),
];
const PUBLICATION: Columns =
    &[("oid", OidType), ("pubname", Name), ("pubowner", OidType), ("puballtables", Boolean)];
const FOREIGN_TABLE: Columns =
    &[("ftrelid", OidType), ("ftserver", OidType), ("ftoptions", TextArray)];
const FOREIGN_SERVER: Columns =
    &[("oid", OidType), ("srvname", Name), ("srvowner", OidType), ("srvfdw", OidType)];
const ENUM: Columns =
    &[("oid", OidType), ("enumtypid", OidType), ("enumsortorder", Real), ("enumlabel", Name)];
const EXTENSION: Columns =
    &[("oid", OidType), ("extname", Name), ("extowner", OidType), ("extnamespace", OidType)];
const EXTERNAL_SCHEMA: Columns =
    &[("esoid", OidType), ("eskind", SmallInt), ("esdbname", Text), ("esoptions", Text)];
const RULES: Columns =
    &[("schemaname", Name), ("tablename", Name), ("rulename", Name), ("definition", Text)];
const MATVIEWS: Columns =
    &[("schemaname", Name), ("matviewname", Name), ("matviewowner", Name), ("definition", Text)];
const SVV_EXTERNAL_SCHEMAS: Columns = &[
    ("esoid", OidType),
    ("eskind", SmallInt),
    ("schemaname", Name),
    ("esowner", Integer),
    ("databasename", Text),
    ("esoptions", Text),
];
const SVV_EXTERNAL_TABLES: Columns = &[
    ("redshift_database_name", Text),
    ("schemaname", Text),
    ("tablename", Text),
    ("tabletype", Text),
    ("location", Text),
    ("input_format", Text),
    ("output_format", Text),
    ("serialization_lib", Text),
    ("serde_parameters", Text),
    ("compressed", Integer),
    ("parameters", Text),
];
const SVV_EXTERNAL_COLUMNS: Columns = &[
    ("redshift_database_name", Text),
    ("schemaname", Text),
    ("tablename", Text),
    ("columnname", Text),
    ("external_type", Text),
    ("columnnum", Integer),
    ("part_key", Integer),
    ("is_nullable", Text),
];
const SVV_EXTERNAL_DATABASES: Columns = &[
    ("eskind", Integer),
    ("esoptions", Text),
    ("databasename", Text),
    ("location", Text),
    ("parameters", Text),
];
const SVV_EXTERNAL_PARTITIONS: Columns = &[
    ("schemaname", Text),
    ("tablename", Text),
    ("values", Text),
    ("location", Text),
    ("input_format", Text),
    ("output_format", Text),
    ("serialization_lib", Text),
    ("serde_parameters", Text),
    ("compressed", Integer),
    ("parameters", Text),
];
const SVV_DATASHARES: Columns = &[
    ("share_name", Text),
    ("share_id", Integer),
    ("share_owner", Integer),
    ("source_database", Text),
    ("consumer_database", Text),
    ("share_type", Text),
    ("createdate", Timestamp),
    ("is_publicaccessible", Boolean),
    ("share_acl", Text),
    ("producer_account", Text),
    ("producer_namespace", Text),
    ("managed_by", Text),
];
const SVV_MV_INFO: Columns = &[
    ("database_name", Text),
    ("schema_name", Text),
    ("user_name", Text),
    ("name", Text),
    ("is_stale", Text),
    ("state", Integer),
    ("autorewrite", Text),
    ("autorefresh", Text),
];
const STV_MV_INFO: Columns = &[
    ("db_name", Text),
    ("schema", Text),
    ("name", Text),
    ("updated_upto_xid", BigInt),
    ("is_stale", Text),
    ("owner_user_name", Text),
    ("state", Integer),
    ("autorewrite", Text),
    ("autorefresh", Text),
];
const SVV_ROLES: Columns =
    &[("role_id", Integer), ("role_name", Text), ("role_owner", Text), ("external_id", Text)];
const SVV_ROLE_GRANTS: Columns = &[
    ("role_id", Integer),
    ("role_name", Text),
    ("granted_role_id", Integer),
    ("granted_role_name", Text),
];
const SVV_USER_GRANTS: Columns = &[
    ("user_id", Integer),
    ("user_name", Text),
    ("role_id", Integer),
    ("role_name", Text),
    ("admin_option", Boolean),
];
