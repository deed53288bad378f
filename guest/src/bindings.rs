//! The types and imports of the WIT package `wreckit:batch`. They are the types of the logic as well: no
//! record is declared twice.

wit_bindgen::generate!({
    path: "../wit",
    world: "component",
    generate_all,
    additional_derives: [PartialEq],
    pub_export_macro: true,
});
