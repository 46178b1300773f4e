//! References in docs/: what stands between two marks is made of the code, and a test keeps it so.
//!
//! Knows nothing of what they say. Tests of the crates below this one include it.

use std::{env, fs, path::Path};

const BEGIN: &str = "<!-- reference -->\n";
const END: &str = "<!-- end of reference -->\n";

/// Fails where the reference in `document` is another than `reference`; writes it there with `UPDATE_DOCS` set.
pub(crate) fn assert_reference(document: &str, reference: &str) {
    let below = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let path = below.map(|directory| directory.join(document)).find(|path| path.exists()).expect("the document");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the reference begins");
    let (there, after) = rest.split_once(END).expect("the reference ends");
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, format!("{before}{BEGIN}{reference}{END}{after}")).unwrap();
    } else {
        assert_eq!(there, reference, "{document}: run this test with UPDATE_DOCS=1");
    }
}
