//! Binds the logic to the WIT package.

mod exports;
mod imports;

crate::bindings::export!(exports::Component with_types_in crate::bindings);
