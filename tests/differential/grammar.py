"""Forms of expressions that Redshift and PostgreSQL share, by the type of their value.

In a form, `{int}` stands for an expression of that type, `{int=}` for one without functions around
it (a column or a literal), `{1..9}` for a number, `{a|b}` for one of these words
(`{a¦b}` where a word has a bar). Where the two
spell one meaning differently, `‹ours‖theirs›` has both. A form without a fixed scale begins
with `~`: the number of digits behind the point is not compared.
"""

COLUMNS = {
    "int": ["i2", "i4", "i8"],
    "xint": ["x2", "x4", "x8"],
    "float": ["f8", "f8", "f4"],
    "xfloat": ["xf"],
    "bool": ["b", "b2"],
    "text": ["s", "s", "s2", "n"],
    "utext": ["u", "w", "s", "u"],
    "ntext": ["n"],
    "char": ["c"],
    "date": ["dt"],
    "xdate": ["xdt", "dt"],
    "time": ["tm"],
    "timetz": ["tz"],
    "ts": ["ts", "ts2"],
    "tstz": ["tt"],
    "interval": [],
    "dec": ["d1", "d2", "d0"],
    "xdec": ["xd"],
}

LITERALS = {
    "int": ["0", "1", "2", "-1", "7", "10", "-30", "100", "CAST(3 AS smallint)", "5::bigint",
            "NULL::int", "'12'::int"],
    "float": ["0.5::double precision", "2::float8", "'-1.5'::float8", "1e2::float8", "NULL::float8",
              "3::real"],
    "bool": ["true", "false", "NULL::boolean", "'t'::boolean", "'no'::boolean"],
    "text": ["'abc'", "'X'", "''", "'o'", "'hello'", "NULL::varchar", "'a.b'", "'%'",
             "'b'::varchar(10)"],
    "utext": ["'ä'", "'本'", "'  pad '", "'é'::varchar(10)"],
    "ntext": ["'5'", "'-20'", "'007'"],
    "char": ["'abc'::char(6)", "'a'::char(3)", "''::char(2)"],
    "date": ["date '2024-01-31'", "'1999-12-31'::date", "date '2000-02-29'", "NULL::date",
             "CAST('2023-03-26' AS date)"],
    "time": ["time '10:20:30'", "'23:00'::time", "NULL::time", "time '00:00:00.25'"],
    "timetz": ["'10:20:30+02'::timetz", "timetz '08:00:00-03:30'", "NULL::timetz"],
    "ts": ["timestamp '2024-02-29 23:59:59'", "'1969-07-20 20:17:40'::timestamp",
           "NULL::timestamp", "timestamp '2000-01-01'"],
    "tstz": ["timestamptz '2024-03-10 07:30:00+00'", "'2001-09-09 01:46:40+02'::timestamptz",
             "NULL::timestamptz"],
    "interval": ["interval '1 day'", "interval '2 hours'", "interval '3 months'",
                 "interval '1 year 2 months'", "interval '-1 day 2 hours'", "interval '90 minutes'",
                 "interval '1.5 seconds'", "interval '1 week'", "interval '10 days 00:00:01'"],
    "dec": ["1.5", "0.25", "-3.75", "10.0", "'2.50'::decimal(5,2)", "CAST(7 AS decimal(4,1))",
            "NULL::decimal(6,3)"],
}

# Digits before and behind the point.
DIGITS = {"d1": (3, 2), "d2": (5, 4), "d0": (6, 0), "xd": (16, 2), "1.5": (1, 1), "0.25": (1, 2),
          "-3.75": (1, 2), "10.0": (2, 1), "3.00": (1, 2), "'2.50'::decimal(5,2)": (3, 2),
          "CAST(7 AS decimal(4,1))": (3, 1), "NULL::decimal(6,3)": (3, 3),
          "99999999999.99": (11, 2), "0.000001": (1, 6), "123456789012345678::decimal(18,0)": (18, 0)}

COMPARED = ["int", "dec", "float", "text", "char", "date", "time", "ts", "tstz", "bool"]
CASES = ["int", "text", "date", "ts", "float", "bool", "tstz", "time"]


def conditional(kind):
    """Forms that every type has."""
    return f"""
CASE WHEN {{bool}} THEN {{{kind}}} ELSE {{{kind}}} END
CASE WHEN {{bool}} THEN {{{kind}}} END
CASE WHEN {{bool}} THEN {{{kind}}} WHEN {{bool}} THEN {{{kind}}} ELSE NULL END
CASE {{int=}} WHEN 1 THEN {{{kind}}} WHEN {{0..9}} THEN {{{kind}}} ELSE {{{kind}}} END
COALESCE({{{kind}}}, {{{kind}}})
COALESCE(NULL, {{{kind}}}, {{{kind}}})
NULLIF({{{kind}}}, {{{kind}}})
"""


def ordered(kind):
    return f"""
GREATEST({{{kind}}}, {{{kind}}})
LEAST({{{kind}}}, {{{kind}}}, {{{kind}}})
"""


FORMS = {}
FORMS["int"] = conditional("int") + ordered("int") + """
({int} + {int})
({int} - {int})
({int} * {int})
({int} / {int})
({int} / {-5..5})
({int} % {int})
(- {int})
(+ {int})
abs({int})
mod({int}, {int})
({int} & {int})
({int} | {int})
({int} # {int})
(~ {int})
({int} << {0..6})
({int} >> {0..6})
({int=} + {xint=})
({xint=} - {int=})
({xint=} * {int=})
({xint=} / {int=})
({xint=} % {int=})
(- {xint=})
abs({xint=})
({xint=} + {xint=})
sign({int})::int
length({text})
length({utext})
length({char})
char_length({utext})
octet_length({utext})
strpos({text}, {text})
strpos({utext}, {utext})
position({text} IN {text})
ascii({text})
({date} - {date})
({xdate=} - {date=})
{int}::{smallint|integer|bigint}
{xint=}::{smallint|integer|bigint}
{dec}::{smallint|integer|bigint}
{xdec=}::{smallint|integer|bigint}
CAST({float=} AS {smallint|integer|bigint})
CAST({xfloat=} AS {integer|bigint})
CAST({ntext} AS {integer|bigint|smallint})
CAST({text=} AS integer)
{bool}::int
date_part('{year|month|day|dow|doy|week|quarter|decade|century|millennium|hour|minute|isoyear|epoch}', {date})::bigint
date_part('{year|month|day|week|century|millennium|decade}', {xdate=})::bigint
date_part('{year|month|day|dow|doy|week|quarter|hour|minute}', {ts})::int
date_part('{year|month|day|hour|minute|epoch}', {tstz})::bigint
extract({year|month|day|dow|doy|week|quarter|hour|minute|decade|century} FROM {ts})::bigint
extract({year|month|day|dow|doy|week|quarter} FROM {date})::int
extract({hour|minute} FROM {time})::int
extract({day|hour|minute} FROM ({ts} - {ts}))::bigint
round({float=})::bigint
to_number({text=}, '99999')::int
CAST(to_char({int}, '99999') AS int)
"""

FORMS["dec"] = """
({dec} + {dec})
({dec} - {dec})
({dec} * {dec})
({dec} + {int=})
({int=} - {dec})
({dec} * {int=})
(- {dec})
abs({dec})
abs({xdec=})
({xdec=} + {dec=})
({xdec=} - {xdec=})
~CASE WHEN {bool} THEN {dec} ELSE {dec} END
~CASE WHEN {bool} THEN {dec} END
~COALESCE({dec}, {dec})
~COALESCE({dec}, {int})
~GREATEST({dec}, {dec})
~LEAST({dec}, {int}, {dec})
NULLIF({dec}, {dec})
~ceil({dec})
~floor({dec})
~ceiling({dec})
~round({dec})
~round({dec}, {0..3})
~round({dec}, -1)
~trunc({dec})
~trunc({dec}, {0..3})
~mod({dec}, {dec})
~({dec} % {int})
~sign({dec})
{dec}::decimal(10,{0..4})
CAST({int} AS decimal(12,{0..3}))
CAST({float=} AS decimal(18,{0..4}))
CAST({xfloat=} AS decimal(18,2))
CAST({ntext} AS decimal(8,{0..3}))
CAST({text=} AS decimal(8,2))
{xdec=}::decimal(10,{0..4})
{xint=}::decimal(12,2)
~to_number('{12|-7|1,234.50|0.125}', '9,999.999')
~to_number('{12|-7|+1234}', '{99999|S99999}')
"""

FORMS["float"] = conditional("float") + ordered("float") + """
({float} + {float})
({float} - {float})
({float} * {float})
({float=} / {float=})
({float} + {int})
({dec} * {float})
({int} - {float})
({float=} / {int=})
(- {float})
abs({float})
({xfloat=} + {float=})
({xfloat=} * {float=})
({xfloat=} / {float=})
({xfloat=} - {xfloat=})
(- {xfloat=})
sqrt({float=})
sqrt(abs({float}))
sqrt({int=})
cbrt({float})
exp({float=})
exp({xfloat=})
ln({float=})
ln(abs({float}) + 1)
log(abs({int=}::int) + 1)::float8
‹log(abs({float=}) + 1)‖log((abs({float=}) + 1)::numeric)::float8›
power({float=}, {int=})
power(2, {int=})::float8
pow({xfloat=}, 2)
({float=} ^ {-2..3})
(|/ {float=})
(||/ {float})
(@ {float})
sin({float})
cos({float})
tan({float=})
asin({float=})
acos({float=})
atan({float})
atan2({float}, {float})
cot({float=})
degrees({float})
radians({float})
pi()
ceil({float})
floor({float})
round({float=})
trunc({float})
ceil({xfloat=})
floor({xfloat=})
sign({float})
{int}::float8
{dec}::float8
{xdec=}::float8
{xint=}::float8
{float=}::real
CAST({ntext} AS {real|float8})
CAST({text=} AS float8)
date_part('{second|epoch|millisecond|microsecond}', {ts})
date_part('{epoch|second}', {tstz})
date_part('{hour|minute|second|epoch}', {time})
date_part('{hour|minute|second}', {timetz})
date_part('{day|hour|minute|second|epoch}', {ts} - {ts})
"""

FORMS["bool"] = conditional("bool").replace("{int=}", "{int}") + "".join(f"""
({{{kind}}} = {{{kind}}})
({{{kind}}} <> {{{kind}}})
({{{kind}}} < {{{kind}}})
({{{kind}}} >= {{{kind}}})
({{{kind}}} != {{{kind}}})
({{{kind}}} IS NULL)
({{{kind}}} IS NOT NULL)
({{{kind}}} BETWEEN {{{kind}}} AND {{{kind}}})
({{{kind}}} NOT BETWEEN {{{kind}}} AND {{{kind}}})
({{{kind}}} IN ({{{kind}}}, {{{kind}}}))
({{{kind}}} NOT IN ({{{kind}}}, {{{kind}}}, {{{kind}}}))
""" for kind in COMPARED) + """
({int} = {dec})
({int} < {float})
({dec} > {float})
({dec} <= {int})
({xint=} = {int=})
({xint=} < {xint=})
({xint=} > {dec=})
({xint=} >= {float=})
({xfloat=} = {xfloat=})
({xfloat=} < {xfloat=})
({xfloat=} IN (1, {xfloat=}))
({date} = {ts})
({date} < {tstz})
({ts} <= {tstz})
({xdate=} < {date=})
({timetz} = {timetz})
({timetz} < {timetz})
({timetz} IS NULL)
({interval} = {interval})
({interval} < {interval})
({interval} > {interval})
({char} = {text=})
({utext=} < {utext=})
({int} IN (1, 2, NULL))
({int} NOT IN (1, NULL))
({int} IN ({dec}, 1.0, 3))
({text=} IN ('abc', 'Zz', NULL))
({date=} = '2024-01-31')
({ts=} >= '2000-01-01')
({int=} = '7')
({dec=} = '1.25')
({bool} AND {bool})
({bool} OR {bool})
(NOT {bool})
({bool} IS {TRUE|FALSE|UNKNOWN})
({bool} IS NOT {TRUE|FALSE|UNKNOWN})
({text} LIKE '{%|a%|%o|_b_|%.%|h_llo|%\\\\_%|100\\\\%||%l%o%}')
({text} NOT LIKE '{%b%|A%|_%}')
({utext} LIKE '{%ä%|_ö%|日%|% %|%é|Stra_d}')
({text} ILIKE '{%W%|A%|zz|_BC|HELLO}')
({utext} ILIKE '{%Ä%|NAÏVE|É}')
({text} NOT ILIKE '%X%')
({text} LIKE '{a!%%|100!%|foo!_%}' ESCAPE '!')
({text} LIKE {text})
({text} SIMILAR TO '{%(o|b)%¦h%¦[a-z]+¦[^0-9]*¦(a|b)_*¦_{3}¦a?b*c+}')
({text} NOT SIMILAR TO '{%[0-9]%¦abc¦(foo|bar)%}')
({text} ~ '{^a¦o$¦[0-9]+¦b.c¦^[[:alpha:]]+$¦l{2}¦(o|b)¦\\\\.¦^$¦a.*c}')
({text} !~ '{X|^h|[[:digit:]]}')
({text} ~* '{^A|O$|x}')
({text} !~* '{H|Z}')
({char} LIKE '{a%|%c|abc|A_C%}')
({int} IS DISTINCT FROM {int})
({text} IS NOT DISTINCT FROM {text})
(({int}, {int}) = ({int}, {int}))
(({int}, {text}) <> ({int}, {text}))
(({int}, {int}) < ({int}, {int}))
(({date}, {int}) >= ({date}, {int}))
(({int=}, {int=}) IN ((1, 2), (7, {int=})))
{int}::int::boolean
"""

FORMS["text"] = conditional("text") + ordered("text") + """
({text} || {text})
({char} || {text})
({text} || {char})
({text} || {int})
({text} || {date})
({text} || {ts})
({tstz} || {text})
({text} || {dec})
({text} || {bool})
({time} || {text})
({text} || {timetz})
upper({text})
lower({text})
initcap({text})
trim({text})
ltrim({text}, '{ab|x| |Hh}')
rtrim({text}, '{oc|d| |Z}')
btrim({text}, 'abo')
trim(both 'a' from {text})
trim(leading 'h' from {text})
trim(trailing from {text})
substring({text} from {1..4} for {0..4})
substring({text} from {-1..3})
substring({text}, {1..6}, {0..3})
substr({text}, {1..5})
substr({text}, {-2..2}, {0..4})
left({text}, {0..6})
right({text}, {0..6})
lpad({text}, {0..8}, '{*|xy|}')
rpad({text}, {0..8}, '{*|xy|}')
replace({text}, '{l|o|.|ab|}', '{L||zz}')
replace({text}, {text}, 'Q')
translate({text}, 'abo', '{x|12|xyz1}')
repeat({text}, {0..3})
reverse({text})
split_part({text}, '{.|X|_|l}', {1..3})
split_part({text}, {text}, 1)
concat(coalesce({text=}, 'n'), 'z')
chr({65..90})
md5({text})
quote_literal({text})
quote_ident({text})
{int}::varchar
CAST({int} AS varchar(20))
{dec}::varchar(20)
{date}::varchar
{ts}::varchar
{time}::varchar
{tstz}::varchar(40)
{text}::varchar({1..6})
CAST({int} AS char(8))::varchar
{char}::varchar
to_hex({0..999})
to_char({int}, '{999|99999|000|S999|999MI|FM999|999PR|9,999|0999|SG99|FM0009|RN|FMRN|999th|PL999|L999|99999V99}')
to_char({dec}, '{999.99|FM999.99|0.0|S999D9|9,999.999|FM990.0099|999.9PR|MI99.9|9999|00.00|FM999.}')
to_char({float=}, '{999.99|99999.9|FM9990.00|S9.9}')
to_char({ts}, '{YYYY-MM-DD|HH24:MI:SS|YYYY-MM-DD HH24:MI:SS.US|DD Mon YYYY|Day, DD Month YYYY|Dy DD|DDD|D|WW|IW|Q|J|HH12:MI AM|hh:mi:ss pm|YY|Y,YYY|MON|MONTH|month|FMMonth FMDD|DDth|W|CC|SSSS|MS|IYYY-IW|RM|FMDay|HH|FMHH12|"Year" YYYY|A.M.|BC|b.c.|YYY|Y|IDDD|ID|TZ|DY|day}')
to_char({date}::timestamp, '{YYYYMMDD|DD/MM/YY|Mon|DAY|IYYY|IYY|I|YYYYth}')
to_char({tstz}, '{YYYY-MM-DD HH24:MI:SS|TZ|US|HH12 AM}')
regexp_replace({text=}, '{^a|o$|b}', '{#||<>}')
coalesce({text}, {int}::varchar, 'none')
"""

FORMS["utext"] = """
({utext} || {utext})
upper({utext})
lower({utext})
reverse({utext})
substring({utext} from {1..4} for {0..4})
left({utext}, {0..6})
right({utext}, {0..6})
lpad({utext}, {0..8})
rpad({utext}, {0..8})
lpad({utext}, {0..8}, 'é')
trim({utext})
ltrim({utext})
rtrim({utext})
initcap({utext})
replace({utext}, '{ä|本| |é}', '{a|x|}')
translate({utext}, 'äén ', 'ae_')
split_part({utext}, '{ |ö|本}', {1..2})
COALESCE({utext}, {text})
repeat({utext}, {0..2})
"""
FORMS["ntext"] = "CASE WHEN {bool} THEN {ntext=} ELSE {ntext=} END\ntrim({ntext=})\n({ntext=} || '0')"

FORMS["char"] = """
CAST({text} AS char(6))
{char}::char({2..8})
CASE WHEN {bool} THEN {char=} ELSE {char=} END
COALESCE({char=}, {char=})
"""

FORMS["date"] = conditional("date") + ordered("date") + """
({date} + {int=}::int)
({date} - {0..400})
({int=}::int + {date})
({xdate=} + {0..30})
{ts}::date
{tstz}::date
CAST({ts} AS date)
to_date('{2024-02-29|2023-12-31|1999-01-01}', 'YYYY-MM-DD')
to_date('{20240229|19991231|20230115}', 'YYYYMMDD')
to_date('{05 Mar 2021|28 Feb 2020|1 Jan 2000}', 'DD Mon YYYY')
to_date('{05/06/07|31/12/99|01/01/70}', 'DD/MM/YY')
to_date('{2024-060|2023-365|2000-366}', 'YYYY-DDD')
date_trunc('{month|year|quarter|week|decade|century}', {ts})::date
"""

FORMS["time"] = conditional("time") + ordered("time") + """
{ts}::time
{timetz}::time
({time} + {interval})
({time} - interval '{1 hour|90 seconds|30 minutes}')
"""

FORMS["timetz"] = conditional("timetz") + """
{tstz}::timetz
({timetz} + interval '{1 hour|90 seconds}')
"""

FORMS["ts"] = conditional("ts") + ordered("ts") + """
({ts} + {interval})
({ts} - {interval})
({date} + {interval})
({date} - {interval})
({date} + {time})
({time} + {date})
{date}::timestamp
{tstz}::timestamp
date_trunc('{second|minute|hour|day|week|month|quarter|year|decade|century|millennium|milliseconds|microseconds}', {ts})
‹date_trunc('{week|month|quarter|year}', {date})‖date_trunc('{week|month|quarter|year}', {date}::timestamp)›
({tstz} AT TIME ZONE '{UTC|America/New_York|Asia/Kolkata|EST|Europe/Berlin|Australia/Lord_Howe}')
timezone('{UTC|Asia/Tokyo}', {tstz})
({ts} + {int=} * interval '{1 day|1 hour|1 month}')
({date} + {0..40} * interval '1 day')
to_timestamp('{2024-02-29 12:34:56|1999-12-31 23:59:59}', 'YYYY-MM-DD HH24:MI:SS')::timestamp
to_timestamp('{05 Dec 2000 11:10 PM|01 Jan 2020 12:00 AM}', 'DD Mon YYYY HH:MI AM')::timestamp
"""

FORMS["tstz"] = conditional("tstz") + ordered("tstz") + """
({tstz} + {interval})
({tstz} - {interval})
({ts} AT TIME ZONE '{UTC|America/New_York|Asia/Kolkata|PST|Europe/Berlin}')
timezone('{UTC|Asia/Tokyo|America/Sao_Paulo}', {ts})
{ts}::timestamptz
{date}::timestamptz
date_trunc('{second|minute|hour|day|week|month|quarter|year}', {tstz})
CAST('{2024-01-02 03:04:05+02|2024-01-02 03:04:05|2024-01-02 03:04:05Z|2024-01-02 03:04:05 America/New_York|2024-07-02 03:04:05 PST|2024-01-02T03:04:05-05:30}' AS timestamptz)
to_timestamp('{2024-02-29 12|1999-12-31 23}', 'YYYY-MM-DD HH24')
({date} + {timetz})
"""

FORMS["interval"] = """
({ts} - {ts})
({tstz} - {tstz})
({interval=} + {interval=})
({interval=} - {interval=})
({interval=} * {-2..3})
({interval=} / {2..4})
(- {interval=})
CASE WHEN {bool} THEN {interval=} ELSE {interval=} END
COALESCE({ts} - {ts}, {interval=})
({time} - {time})
"""

# A quotient of decimals has another number of digits in each dialect: never inside something else.
# Constants that fail do so where they stand, when a server first computes them: never inside a CASE
# that may not need them.
ALONE = {
    "dec": ["~({dec} / {dec=})", "~({dec} / {int=})", "~({int=} / {dec=})",
            "'{1.25|-7|1e3|x||99999999999999}'::decimal(8,{0..3})"],
    'bool': ["CAST('{true|false|t|f|yes|no|y|n|1|0|on|maybe}' AS boolean)", "({int=} = '{7|1.5|x|}')", "({dec=} = '{1.25|1e0|abc}')", "({date=} < '{2024-01-31|x|2024-02-30}')"],
    'date': ["to_date('{2024-13-01|2023-02-30|20-01-01|x}', 'YYYY-MM-DD')", "CAST('{2024-02-30|2023-1-5|20231231|Jan 8, 1999|1999-Jan-08|08-Jan-1999|1/8/1999|xx||2024/05/06}' AS date)"],
    'time': ["CAST('{10:11:12|1:2:3|10:11 PM|25:00:00|10|24:00:00|10:11:12.1234567|ab}' AS time)"],
    'timetz': ["CAST('{10:11:12+01|10:11:12|1:02:03-07:30|10:11 AM+02}' AS timetz)"],
    'ts': ["CAST('{2024-01-02 03:04:05|2024-01-02|2024-01-02T03:04:05.678|20240102 030405|2024-01-02 25:00:00|January 8, 1999 04:05:06|2024-01-02 03:04:05.1234567|2024-1-2 3:4|0001-01-01 00:00:00|9999-12-31 23:59:59.999999|2024-01-02 24:00:00|2024-01-02 03:04:60|nope}' AS timestamp)"],
    'int': ['{xint=}::{smallint|integer}', "'{32768|-32769|x||1.5| 12 |+7|1e3}'::{smallint|bigint}", '{2147483647|-2147483648} + {1..3}', '{2147483647|-2147483648} * {1..3}', '(-9223372036854775807) - {0..2}', '32767::smallint + {0..1}::smallint'],
    'float': ["'{NaN|Infinity|-inf|1e400|1e-400|.5|5.|1e|x| 2 }'::float8", '1e308::float8 * {1|10}', '{1e308|1e-300|1.5e10|0.1}::float8'],
}

# How often each type is asked for.
WEIGHTS = {"int": 16, "dec": 10, "float": 10, "bool": 22, "text": 18, "utext": 4, "char": 2,
           "date": 6, "time": 3, "timetz": 2, "ts": 8, "tstz": 5, "interval": 4}
