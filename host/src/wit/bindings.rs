//! Generated from the WIT package in `wit/`, where every item is documented.

#![expect(missing_docs, reason = "generated; the documentation is in the WIT package")]

wasmtime::component::bindgen!({
    path: "wit",
    world: "component",
    additional_derives: [PartialEq],
});
