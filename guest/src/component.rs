//! Binds the logic to the WIT package: conversions and nothing else.

mod exports;
mod imports;

#[expect(
    clippy::all,
    unsafe_code,
    reason = "generated from the WIT package, whose items are documented there"
)]
mod bindings {
    use super::exports::Component;

    wit_bindgen::generate!({
        path: "../wit",
        world: "component",
        generate_all,
    });

    export!(Component);
}
