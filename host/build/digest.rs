//! Whether the committed component is the one that its provenance names. Of the build script; tests use it,
//! too.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Says how the component differs from what `provenance.json` says of it; `None` if it does not. What is
/// embedded is what was reviewed, not what a bad merge or a damaged checkout left.
pub(crate) fn mismatch(component: &[u8], provenance: &str) -> Option<String> {
    let mut digest = String::new();
    for byte in Sha256::digest(component) {
        // Writing to a string cannot fail.
        let _ = write!(digest, "{byte:02x}");
    }
    // `guest/build` writes it in this form.
    let named = format!("\"component_sha256\": \"{digest}\"");
    (!provenance.contains(&named)).then(|| {
        format!(
            "host/component/wreckit.wasm (SHA-256 {digest}) is not the component that \
             host/component/provenance.json names: restore both (`git checkout host/component`), or build \
             both anew (`guest/build`)"
        )
    })
}
