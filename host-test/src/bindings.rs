//! The component's functions and types as Rust, made from the WIT; for [`Host::with`](crate::Host::with).

wasmtime::component::bindgen!({
    path: "../wit",
    world: "connector",
    exports: { default: async },
    additional_derives: [PartialEq],
});
