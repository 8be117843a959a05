//! Without a crypto provider there is no TLS. This is reported when a URL is read, not by a panic
//! when a connection is made.
//!
//! The test has its own process, as the provider belongs to the process.

#![cfg(feature = "tls")]

use courteous_throttle_redis::{InvalidTls, Redis, Tls};

#[test]
fn a_process_without_a_crypto_provider_is_told_so_when_a_url_is_read() {
    let url = "rediss://user:geheim@localhost";
    let by_sentinel = || Redis::sentinel(["redis://localhost"], "rediss://:geheim@name");
    for rejected in [Redis::open(url), Redis::cluster([url]), by_sentinel()] {
        let said = rejected.unwrap_err().to_string();
        assert!(said.contains("no process-wide crypto provider"), "{said}");
        assert!(!said.contains("geheim"), "{said}");
    }
    // A connection without TLS needs no provider.
    let plain = Redis::open("redis://localhost").unwrap();
    assert_eq!(plain.with_tls(&Tls::new()).unwrap_err(), InvalidTls::Plain);
    rustls::crypto::ring::default_provider()
        .install_default()
        .unwrap();
    let _ = Redis::open(url).unwrap();
    let _ = by_sentinel().unwrap();
    let said = Redis::open("rediss://localhost#insecure").unwrap_err();
    assert!(said.to_string().contains("always checked"), "{said}");
}
