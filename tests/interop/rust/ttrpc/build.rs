//! Generates the code of the test service, in Rust alone: no protoc is needed.

use ttrpc_codegen::{Codegen, Customize};

mod well_known;

fn main() {
    let out = well_known::prepare();

    let protos = "../../../../proto";
    let proto = format!("{protos}/ttrpc/test/v1/test.proto");
    println!("cargo::rerun-if-changed={proto}");
    Codegen::new()
        .out_dir(&out)
        .input(&proto)
        .include(protos)
        .include(&out)
        .rust_protobuf()
        .customize(Customize { async_all: true, ..Default::default() })
        .run()
        .expect("the code of the test service is generated");
}
