//! Binds the logic to the WIT package.

mod exports;
mod imports;

use self::exports::Component;

#[expect(unsafe_code, unreachable_pub, reason = "the ABI of components, as generated")]
mod export {
    use super::Component;

    crate::bindings::export!(Component with_types_in crate::bindings);
}
