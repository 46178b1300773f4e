//! What a pod answers on its ready endpoint: status line, headers, body, in the pod's own pace and size.
//!
//! Knows nothing of namespaces: the connection is memory.
#![no_main]

use std::cell::RefCell;

use conngate::{
    net::probe::{Answer, MAX_WORD, exchange},
    url::ReadyUrl,
};
use libfuzzer_sys::fuzz_target;
use tokio::{
    io::{AsyncWriteExt as _, duplex},
    runtime::{Builder, Runtime},
};

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(Builder::new_current_thread().build().expect("a runtime"));
}

fuzz_target!(|answer: &[u8]| {
    let url: ReadyUrl = "http://127.0.0.1:15000/ready".parse().expect("a URL");
    let exchanged = async {
        let (ours, mut theirs) = duplex(answer.len().max(1024));
        theirs.write_all(answer).await.expect("memory takes it");
        theirs.shutdown().await.expect("memory ends");
        exchange(ours, &url).await
    };
    if let Ok(Answer::NotReady { word, .. }) = RUNTIME.with(|runtime| runtime.borrow().block_on(exchanged)) {
        assert!(word.len() <= MAX_WORD && word.bytes().all(|byte| matches!(byte, b' '..=b'~')));
    }
});
