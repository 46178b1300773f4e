//! A pod's proxy, as far as the agent sees one: an admin port that says 503 until it is told to go, then a listener at the
//! capture port and 200.
//!
//! Knows nothing of xDS or of filters; what it accepts it keeps. Says on stdout when it was ready.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::Result;
use conngate_testbed::{
    clock::mono_ns,
    lab::{envoy::ADMIN_PORT, redirect::CAPTURE_PORT},
};

/// Serves until it is killed.
pub(crate) fn serve() -> Result<()> {
    let ready = AtomicBool::new(false);
    let admin = TcpListener::bind((Ipv4Addr::LOCALHOST, ADMIN_PORT))?;
    thread::scope(|scope| {
        scope.spawn(|| {
            for mut connection in admin.incoming().flatten() {
                // Who asks may have given up.
                let _ = connection.read(&mut [0; 1024]);
                let status = if ready.load(Ordering::Acquire) { "200 OK" } else { "503 Service Unavailable" };
                let _ = connection.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes());
            }
        });
        io::stdin().read_line(&mut String::new())?;
        let capture = TcpListener::bind((Ipv4Addr::UNSPECIFIED, CAPTURE_PORT))?;
        ready.store(true, Ordering::Release);
        println!("{}", mono_ns());
        let kept: Vec<_> = capture.incoming().collect();
        drop(kept);
        Ok(())
    })
}
