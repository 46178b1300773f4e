//! Scopes are made and swept by many at once.

use std::{path::Path, thread};

use conngate::proc::scope::Scope;

use crate::fixture::{Node, inside, run_inside};

#[test]
#[ignore = "needs root"]
fn scope_that_is_just_made_is_swept_by_nobody() {
    if let Some(values) = inside() {
        for _ in 0..200 {
            let scope = Scope::create(Path::new(&values[0])).unwrap();
            assert!(scope.path().exists());
            scope.remove().unwrap();
        }
        return;
    }
    let node = Node::new();
    let parent = node.path().to_str().unwrap();
    let run = || run_inside("scope::scope_that_is_just_made_is_swept_by_nobody", "exec $RUN", &[parent]);
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(run))));
}

#[test]
#[ignore = "needs root"]
fn scope_that_nobody_looks_after_is_swept_by_the_next() {
    let node = Node::new();
    let left = node.make("conngate-run-0/below");
    let scope = Scope::create(node.path()).unwrap();
    assert!(!left.parent().unwrap().exists());
    // One in another: the outer one is locked, which keeps nobody out of it.
    let inner = Scope::create(scope.path()).unwrap();
    assert!(inner.path().starts_with(scope.path()));
    inner.remove().unwrap();
    scope.remove().unwrap();
}
