//! The proxy itself is replaced, behind a Service with two replicas of it, or its certificate is.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use standins::tls::{CertificateAuthority, Issued};

use crate::load::{Load, ask, client};
use crate::replica::Replica;
use crate::stage::{Stage, is_ready};
use crate::{phase, run};
use support::scratch;

#[test]
fn one_proxy_of_two_is_replaced_after_the_other() {
    run(async {
        let (mut stage, _replicas) = Stage::with_replicas::<2>().await;
        let second = stage.another_proxy().await;
        let addresses = Arc::new(Mutex::new(vec![stage.proxy.service(), second.service()]));
        let load = Load::over(addresses.clone());
        phase(500).await;
        let third = stage.another_proxy().await;
        let first = std::mem::replace(&mut stage.proxy, third);
        for old in [first, second] {
            old.signal("TERM");
            // As a Service does: whoever is not ready gets no more requests.
            while is_ready(old.admin("/readyz")).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            {
                let mut addresses = addresses.lock().expect("not poisoned");
                addresses.retain(|address| *address != old.service());
                if !addresses.contains(&stage.proxy.service()) {
                    addresses.push(stage.proxy.service());
                }
            }
            let status = old.ended().await;
            assert!(status.success(), "{status}");
        }
        phase(300).await;
        load.stop().await.expect_none_failed("proxy-restart");
    });
}

#[test]
fn the_serving_certificate_is_rotated() {
    run(async {
        let (old, new) = (
            CertificateAuthority::new("old"),
            CertificateAuthority::new("new"),
        );
        let (certificate, key) = (scratch("tls.crt"), scratch("tls.key"));
        let write = |issued: Issued| {
            std::fs::write(&key, issued.key_pem).expect("written");
            std::fs::write(&certificate, issued.certificate_pem).expect("written");
        };
        write(old.issue(&["127.0.0.1"]));
        let replica = Replica::start().await;
        let (cert_file, key_file) = (certificate.display(), key.display());
        let tls = format!("{{ certFile: \"{cert_file}\", keyFile: \"{key_file}\" }}");
        let stage = Stage::with_tls(&[replica.address()], &tls).await;
        let address = stage.proxy.service();
        let load = Load::over_https(address, &[old.pem(), new.pem()]);
        phase(300).await;
        write(new.issue(&["127.0.0.1"]));
        // Whoever trusts the new authority alone is served as soon as the files are seen.
        let url = format!("https://{address}");
        while ask(&client(&[new.pem()]), &url, 0, false).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let refused = ask(&client(&[old.pem()]), &url, 0, false).await;
        assert!(refused.is_err(), "the old certificate is shown no more");
        phase(300).await;
        load.stop().await.expect_none_failed("rotate-certificate");
    });
}
