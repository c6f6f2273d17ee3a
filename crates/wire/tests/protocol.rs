//! The protocol against a made-up leader, message by message and with a real client.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/client.rs"]
mod client;
#[path = "support/fake.rs"]
mod fake;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base::CancellationToken;
use client::{Client, bind, execute, message, parse, query, startup, sync, tags};
use fake::{FakeLeader, Observed, PASSWORD};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use wire::{Server, ServerOptions, Tls};

struct Fixture {
    address: SocketAddr,
    observed: Arc<Observed>,
    shutdown: CancellationToken,
    served: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

async fn start_with(change: impl FnOnce(&mut ServerOptions)) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let mut options = ServerOptions {
        tls: Tls::load_or_create(dir.path()).unwrap(),
        login_failure_delay_ms: 5,
        ..ServerOptions::default()
    };
    change(&mut options);
    let leader = Arc::new(FakeLeader::default());
    let observed = Arc::clone(&leader.observed);
    let shutdown = options.shutdown.clone();
    let server = Server::bind(([127, 0, 0, 1], 0).into(), leader, options).await.unwrap();
    let address = server.local_addr();
    let served = tokio::spawn(server.serve());
    Fixture { address, observed, shutdown, served, _dir: dir }
}

async fn start() -> Fixture {
    start_with(|_| ()).await
}

/// Waits for something that happens soon, or fails.
async fn soon(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..500 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not happen");
}

#[tokio::test]
async fn redshift_drivers_get_the_digest() {
    let server = start().await;
    let login = |user: &'static str, password: &'static str| async move {
        let mut client = Client::connect(server.address).await;
        let parameters = [("user", user), ("database", "dev"), ("client_protocol_version", "3")];
        client.send(&startup(3 << 16, &parameters)).await;
        let messages = client.authenticate(user, password).await;
        (client, messages)
    };
    let (client, messages) = login("awsuser", PASSWORD).await;
    assert_eq!(tags(&messages), "RKZ");
    let reported = |name: &str| client.parameters.iter().find(|(key, _)| key == name).cloned();
    assert_eq!(reported("server_protocol_version").unwrap().1, "2");
    assert_eq!(reported("server_version").unwrap().1, "8.0.2");
    assert_eq!(reported("standard_conforming_strings"), None);
    let (_, wrong) = login("awsuser", "wrong").await;
    let (_, unknown) = login("nobody", PASSWORD).await;
    for (messages, user) in [(wrong, "awsuser"), (unknown, "nobody")] {
        assert_eq!(tags(&messages), "E");
        assert_eq!(messages[0].field(b'C'), "28000");
        assert_eq!(messages[0].field(b'S'), "FATAL");
        let expected = format!("password authentication failed for user \"{user}\"");
        assert_eq!(messages[0].field(b'M'), expected);
    }
    assert_eq!(server.observed.failed_logins.load(Ordering::Relaxed), 2);
}

async fn connect(
    address: SocketAddr,
    user: &str,
    password: &str,
) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(address.port()).user(user).password(password).dbname("dev");
    let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

#[tokio::test]
async fn postgresql_clients_get_scram_or_md5() {
    let server = start().await;
    for user in ["awsuser", "md5user"] {
        let client = connect(server.address, user, PASSWORD).await.unwrap();
        let row = client.query_one("select 1", &[]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), 1);
        for (user, password) in [(user, "wrong"), ("nobody", PASSWORD)] {
            let fault = connect(server.address, user, password).await.err().unwrap();
            assert_eq!(fault.code().unwrap().code(), "28P01");
        }
    }
    // Only a digest is kept of this user, and without TLS it is not asked for.
    assert!(connect(server.address, "digestuser", PASSWORD).await.is_err());
}

#[tokio::test]
async fn a_real_client_reads_types_and_binds_values() {
    let server = start().await;
    let client = connect(server.address, "awsuser", PASSWORD).await.unwrap();
    let row = client.query_one("echo $1::int8 $2::text $3::bool", &[&7_i64, &"x", &true]);
    let row = row.await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, &str>(1), row.get(2)), (7, "x", true));
    let list = vec![Some(1), None];
    let text = "echo $1::float4 $2::_int4 $3::oid";
    let row = client.query_one(text, &[&0.1_f32, &list, &u32::MAX]).await.unwrap();
    assert_eq!((row.get::<_, f32>(0), row.get::<_, u32>(2)), (0.1, u32::MAX));
    assert_eq!(row.get::<_, Vec<Option<i32>>>(1), [Some(1), None]);
    let null: Option<i64> = None;
    let row = client.query_one("echo $1::int8", &[&null]).await.unwrap();
    assert_eq!(row.get::<_, Option<i64>>(0), None);
    assert_eq!(client.query("rows 100000", &[]).await.unwrap().len(), 100_000);
    let fault = client.query("fail", &[]).await.unwrap_err();
    let fault = fault.as_db_error().unwrap();
    assert_eq!((fault.code().code(), fault.hint()), ("42P01", Some("Make one.")));
}

#[tokio::test]
async fn encryption_is_offered_and_bytes_behind_the_request_are_refused() {
    let server = start().await;
    let ssl_request = [0, 0, 0, 8, 4, 210, 22, 47];
    let gss_request = [0, 0, 0, 8, 4, 210, 22, 48];
    let mut client = Client::connect(server.address).await;
    client.send(&gss_request).await;
    assert_eq!(client.socket.read_u8().await.unwrap(), b'N');
    client.send(&ssl_request).await;
    assert_eq!(client.socket.read_u8().await.unwrap(), b'S');

    let mut client = Client::connect(server.address).await;
    let hidden = startup(3 << 16, &[("user", "awsuser")]);
    client.send(&[&ssl_request[..], &hidden].concat()).await;
    let refused = client.next().await.unwrap();
    assert_eq!((refused.tag, refused.field(b'C').as_str()), (b'E', "08P01"));
    assert!(client.next().await.is_none());
}

#[tokio::test]
async fn versions_and_options_are_negotiated() {
    let server = start().await;
    let mut client = Client::connect(server.address).await;
    let parameters = [("user", "md5user"), ("database", "dev"), ("_pq_.compression", "off")];
    client.send(&startup(3 << 16 | 9_999, &parameters)).await;
    let negotiated = client.next().await.unwrap();
    assert_eq!(negotiated.tag, b'v');
    assert_eq!(negotiated.body, b"\x00\x03\x00\x02\x00\x00\x00\x01_pq_.compression\0");
    client.authenticate("md5user", PASSWORD).await;
    assert_eq!(client.key.len(), 32);
    for packet in [startup(2 << 16, &[]), startup(3 << 16, &[]), vec![0, 1, 0, 0]] {
        let mut client = Client::connect(server.address).await;
        client.send(&packet).await;
        assert_eq!(client.next().await.unwrap().field(b'S'), "FATAL");
    }
    let mut client = Client::connect(server.address).await;
    client.send(&startup(3 << 16, &[("user", "md5user"), ("database", "nope")])).await;
    let messages = client.authenticate("md5user", PASSWORD).await;
    assert_eq!(messages.last().unwrap().field(b'C'), "3D000");
}

#[tokio::test]
async fn a_simple_query_stops_at_the_first_fault() {
    let server = start().await;
    let mut client = Client::open(server.address, &[]).await;
    let messages = client.ask(&query("select 1; notice; fail; select 2")).await;
    assert_eq!(tags(&messages), "TDCNCEZ");
    assert_eq!(messages[2].text(), "SELECT 1");
    assert_eq!(messages[3].field(b'S'), "NOTICE");
    // Position 6 of a statement that begins after 17 characters.
    assert_eq!(messages[5].field(b'P'), "23");
    assert_eq!(tags(&client.ask(&query("")).await), "IZ");
    let messages = client.ask(&query("begin; fail")).await;
    assert_eq!((tags(&messages).as_str(), messages[2].body[0]), ("CEZ", b'E'));
    let messages = client.ask(&query("select 1")).await;
    assert_eq!(messages[0].field(b'C'), "25P02");
    let messages = client.ask(&query("rollback")).await;
    assert_eq!(messages[1].body, b"I");
}

#[tokio::test]
async fn stray_and_unknown_messages() {
    let server = start().await;
    let mut client = Client::open(server.address, &[]).await;
    client.send(&message(b'd', b"copy data outside of a copy")).await;
    assert_eq!(tags(&client.ask(&query("select 1")).await), "TDCZ");
    assert_eq!(client.ask(&message(b'F', b"")).await[0].field(b'C'), "0A000");
    let messages = client.ask(&message(b'?', b"")).await;
    assert_eq!(
        (messages[0].field(b'S'), messages[0].field(b'C')),
        ("FATAL".into(), "08P01".into())
    );
}

#[tokio::test]
async fn portals_stop_and_go_on() {
    let server = start().await;
    let mut client = Client::open(server.address, &[]).await;
    client.ask(&query("begin")).await;
    let open = [parse("s", "rows 20000", &[]), bind("p", "s", &[], 0), execute("p", 3), sync()];
    assert_eq!(tags(&client.ask(&open.concat()).await), "12DDDsZ");
    let messages = client.ask(&[execute("p", 19_990), sync()].concat()).await;
    assert_eq!(tags(&messages[19_990..]), "sZ");
    let messages = client.ask(&[execute("p", 0), sync()].concat()).await;
    assert_eq!(tags(&messages), "DDDDDDDCZ");
    assert_eq!(messages[7].text(), "SELECT 7");
    assert_eq!(messages[6].values()[0].as_deref(), Some(&b"19999"[..]));
    let messages = client.ask(&[execute("p", 0), sync()].concat()).await;
    assert_eq!(messages[0].text(), "SELECT 0");
    client.ask(&query("commit")).await;
    let messages = client.ask(&[execute("p", 0), sync()].concat()).await;
    assert_eq!(messages[0].field(b'C'), "34000");
    // The statement outlives the transaction; a portal outside of one ends at Sync.
    let again = [bind("p", "s", &[], 0), execute("p", 1), sync(), execute("p", 1), sync()];
    assert_eq!(tags(&client.ask(&again.concat()).await), "2DsZ");
    assert_eq!(client.until_ready().await[0].field(b'C'), "34000");
    assert!(server.observed.streams_dropped.load(Ordering::SeqCst) >= 2);
}

#[tokio::test]
async fn a_fault_passes_over_everything_to_sync() {
    let server = start().await;
    let mut client = Client::open(server.address, &[]).await;
    let messages = client
        .ask(&[parse("", "fail", &[]), bind("", "", &[], 0), execute("", 0), sync()].concat())
        .await;
    assert_eq!(tags(&messages), "EZ");
    let describe = message(b'D', b"S\0");
    let messages = client.ask(&[parse("", "echo $1::int4", &[]), describe, sync()].concat()).await;
    assert_eq!(tags(&messages), "1tTZ");
    assert_eq!(messages[1].body, [0, 1, 0, 0, 0, 23]);
    for (bytes, state) in [
        (bind("", "none", &[], 0), "26000"),
        (bind("", "", &[], 0), "08P01"),
        (bind("", "", &[&[1]], 0), "22P03"),
        (execute("none", 0), "34000"),
        (message(b'D', b"Pnone\0"), "34000"),
    ] {
        let messages = client.ask(&[bytes, sync()].concat()).await;
        assert_eq!(messages[0].field(b'C'), state);
    }
    let closed = client.ask(&[message(b'C', b"Snone\0"), sync()].concat()).await;
    assert_eq!(tags(&closed), "3Z");
    assert_eq!(server.observed.syncs.lock().first(), Some(&true));
}

#[tokio::test]
async fn binary_values_come_back_as_they_went() {
    let server = start().await;
    let mut client = Client::open(server.address, &[]).await;
    let numeric = [0, 3, 0, 2, 0x40, 0, 0, 0, 0, 1, 9, 41, 26, 133];
    let mut list = Vec::new();
    for word in [1, 1, 23, 2, 1, 4, 5, -1_i32] {
        list.extend(word.to_be_bytes());
    }
    let values: Vec<(&str, Vec<u8>)> = vec![
        ("bool", vec![1]),
        ("int2", (-3_i16).to_be_bytes().to_vec()),
        ("int4", 70_000_i32.to_be_bytes().to_vec()),
        ("int8", i64::MIN.to_be_bytes().to_vec()),
        ("oid", u32::MAX.to_be_bytes().to_vec()),
        ("float4", 0.1_f32.to_be_bytes().to_vec()),
        ("float8", f64::NAN.to_be_bytes().to_vec()),
        ("text", "grüße".as_bytes().to_vec()),
        ("varchar", vec![]),
        ("name", b"n".to_vec()),
        ("varbyte", vec![0, 255, 7]),
        ("date", (-800_000_i32).to_be_bytes().to_vec()),
        ("time", 86_399_999_999_i64.to_be_bytes().to_vec()),
        ("timetz", [&5_i64.to_be_bytes()[..], &(-19_800_i32).to_be_bytes()].concat()),
        ("timestamp", i64::MAX.to_be_bytes().to_vec()),
        ("timestamptz", (-1_i64).to_be_bytes().to_vec()),
        ("_int4", list),
    ];
    for (name, value) in values {
        let text = format!("echo $1::{name}");
        let ask = [parse("", &text, &[]), bind("", "", &[&value], 1), execute("", 0), sync()];
        let messages = client.ask(&ask.concat()).await;
        assert_eq!(tags(&messages), "12DCZ", "{name}: {messages:?}");
        assert_eq!(messages[2].values()[0].as_deref(), Some(&value[..]), "{name}");
    }
    let ask = [parse("", "echo $1::numeric", &[]), bind("", "", &[&numeric], 0), execute("", 0)];
    let messages = client.ask(&[ask.concat(), sync()].concat()).await;
    // The fake leader announces NUMERIC(38,0).
    assert_eq!(messages[2].values()[0].as_deref(), Some(&b"-123456789"[..]));
}

#[tokio::test]
async fn every_type_has_both_formats() {
    let server = start().await;
    let mut client = Client::open(server.address, &[]).await;
    let messages = client.ask(&query("types")).await;
    let texts: Vec<String> = messages[1]
        .values()
        .into_iter()
        .map(|value| String::from_utf8(value.unwrap()).unwrap())
        .collect();
    let expected = "t|-2|4|-9223372036854775808|0.1|1e+20|-12345.6789|\
        999999999999999999999999999999999999.99|ab   |grüße|2023-11-14|12:34:56.5|\
        12:00:00+05:30|2023-11-14 22:13:20.123456|2023-11-14 22:13:20.123456+00|007f|4294967295|\
        {\"a b\",NULL,\"c\\\"d\"}|{1,NULL,3}|1 2|nm|?";
    assert_eq!(texts.join("|"), expected);
    let ask = [parse("", "types", &[]), bind("", "", &[], 1), execute("", 0), sync()];
    let messages = client.ask(&ask.concat()).await;
    let lengths: Vec<usize> =
        messages[2].values().into_iter().map(|value| value.unwrap().len()).collect();
    assert_eq!(lengths, [1, 2, 4, 8, 4, 8, 14, 28, 5, 7, 4, 8, 12, 8, 8, 2, 4, 38, 40, 32, 2, 1]);
    let nulls = messages[3].values();
    assert_eq!(nulls.iter().filter(|value| value.is_some()).count(), 1);
}

#[tokio::test]
async fn redshift_rows_are_described_at_length() {
    let server = start().await;
    let mut client = Client::open(server.address, &[("client_protocol_version", "1")]).await;
    let messages = client.ask(&query("types")).await;
    let described = String::from_utf8_lossy(&messages[0].body).into_owned();
    assert!(described.contains("public\0t\0int4\0dev\0\u{10}\u{1}"), "{described:?}");
    let mut plain = Client::open(server.address, &[]).await;
    let short = plain.ask(&query("types")).await;
    assert_eq!(messages[0].body.len() - short[0].body.len(), 22 * 6 + "publictint4dev".len());
}

#[tokio::test]
async fn a_changed_time_zone_is_reported_and_used() {
    let server = start().await;
    let mut client = Client::open(server.address, &[]).await;
    client.parameters.clear();
    let messages = client.ask(&query("set TimeZone America/New_York; types")).await;
    assert_eq!(client.parameters, [("TimeZone".into(), "America/New_York".into())]);
    let row = messages.iter().find(|message| message.tag == b'D').unwrap().values();
    assert_eq!(row[14].as_deref(), Some(&b"2023-11-14 17:13:20.123456-05"[..]));
}

#[tokio::test]
async fn cancel_stops_what_runs() {
    let server = start().await;
    for version in [3 << 16, 3 << 16 | 2] {
        let mut client = Client::open_version(server.address, version, &[]).await;
        assert_eq!(client.key.len(), if version == 3 << 16 { 4 } else { 32 });
        client.send(&query("sleep")).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let cancel = |key: &[u8]| {
            let len = u32::try_from(12 + key.len()).unwrap().to_be_bytes();
            let process_id = client.process_id.to_be_bytes();
            [&len[..], &80_877_102_u32.to_be_bytes(), &process_id, key].concat()
        };
        let wrong: Vec<u8> = client.key.iter().map(|byte| !byte).collect();
        for request in [cancel(&wrong), cancel(&client.key)] {
            let mut other = Client::connect(server.address).await;
            other.send(&request).await;
            assert!(other.next().await.is_none());
        }
        let messages = client.until_ready().await;
        assert_eq!((tags(&messages).as_str(), messages[0].field(b'C')), ("EZ", "57014".into()));
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_rows_back_and_leaving_frees_them() {
    let server = start().await;
    let mut client = Client::open(server.address, &[]).await;
    client.send(&query("rows 100000000")).await;
    let made = || server.observed.batches_made.load(Ordering::SeqCst);
    soon("the first batch", || made() > 0).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let held = made();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(made(), held);
    assert!(held < 200, "{held} batches were made for a client that reads nothing");
    drop(client);
    let dropped = &server.observed.streams_dropped;
    soon("the stream's end", || dropped.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn long_messages_are_refused_and_survived() {
    let server = start_with(|options| options.message_bytes_max = 10_000).await;
    let mut client = Client::open(server.address, &[]).await;
    let long = "x".repeat(1_000_000);
    let messages = client.ask(&query(&long)).await;
    assert_eq!((tags(&messages).as_str(), messages[0].field(b'C')), ("EZ", "54000".into()));
    let messages =
        client.ask(&[parse("", &long, &[]), bind("", "", &[], 0), sync()].concat()).await;
    assert_eq!((tags(&messages).as_str(), messages[0].field(b'C')), ("EZ", "54000".into()));
    assert_eq!(tags(&client.ask(&query("select 1")).await), "TDCZ");
    client.send(&[b'Q', 0, 0, 0, 1]).await;
    assert_eq!(client.until_ready().await[0].field(b'C'), "08P01");
}

#[tokio::test]
async fn a_panic_ends_the_statement_only() {
    let server = start().await;
    let mut client = Client::open(server.address, &[]).await;
    let messages = client.ask(&query("panic")).await;
    assert_eq!((tags(&messages).as_str(), messages[0].field(b'C')), ("EZ", "XX000".into()));
    assert_eq!(tags(&client.ask(&query("select 1")).await), "TDCZ");
}

#[tokio::test]
async fn sessions_are_ended_from_outside() {
    let server = start().await;
    let mut idle = Client::open(server.address, &[]).await;
    let mut busy = Client::open(server.address, &[]).await;
    let mut ended = Client::open(server.address, &[]).await;
    let messages = ended.ask(&query("terminate")).await;
    assert_eq!(
        (messages[0].field(b'S'), messages[0].field(b'C')),
        ("FATAL".into(), "57P01".into())
    );
    busy.send(&query("rows 300000")).await;
    assert_eq!(busy.next().await.unwrap().tag, b'T');
    server.shutdown.cancel();
    assert_eq!(idle.until_ready().await[0].field(b'C'), "57P01");
    // What runs may finish.
    let messages = busy.until_ready().await;
    assert_eq!(tags(&messages[300_000..]), "CZ");
    assert_eq!(busy.until_ready().await[0].field(b'C'), "57P01");
    server.served.await.unwrap();
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_stuck_statement_is_ended_after_the_grace_time() {
    let server = start_with(|options| options.shutdown_grace_ms = 100).await;
    let mut client = Client::open(server.address, &[]).await;
    client.send(&query("sleep")).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.shutdown.cancel();
    assert_eq!(client.until_ready().await[0].field(b'C'), "57P01");
    server.served.await.unwrap();
}

#[tokio::test]
async fn limits_of_connections_and_of_waiting() {
    let server = start_with(|options| {
        options.connection_max = 1;
        options.startup_timeout_ms = 200;
        options.idle_timeout_ms = Some(300);
    })
    .await;
    let mut first = Client::open(server.address, &[]).await;
    let mut second = Client::connect(server.address).await;
    second.send(&startup(3 << 16, &[("user", "md5user"), ("database", "dev")])).await;
    assert_eq!(second.next().await.unwrap().field(b'C'), "53300");
    let mut silent = Client::connect(server.address).await;
    assert!(silent.next().await.is_none());
    assert_eq!(first.until_ready().await[0].field(b'C'), "57P05");
    let third = Client::open(server.address, &[]).await;
    drop(third);
}

#[tokio::test]
async fn noise_leaves_the_server_standing() {
    let server = start().await;
    for round in 0_u64..200 {
        let mut client = Client::connect(server.address).await;
        let mut noise = Vec::new();
        if round % 2 == 0 {
            drop(client);
            client = Client::open(server.address, &[]).await;
            noise.push(b"QPBDECHSXFdcfp"[(round % 14) as usize]);
            noise.extend([0, 0, 0, (round % 60) as u8]);
        }
        let mut state = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for _ in 0..round {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            noise.push(state as u8);
        }
        // The server may have closed the connection already.
        let _ = client.socket.write_all(&noise).await;
        let _ = client.socket.shutdown().await;
        let mut rest = Vec::new();
        let _ = client.socket.read_to_end(&mut rest).await;
    }
    let mut client = Client::open(server.address, &[]).await;
    assert_eq!(tags(&client.ask(&query("select 1")).await), "TDCZ");
}
