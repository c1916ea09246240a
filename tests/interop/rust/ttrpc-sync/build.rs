//! Generates the code of the test service, in Rust alone: no protoc is needed.

use std::fs;

use ttrpc_codegen::Codegen;

#[path = "../ttrpc/well_known.rs"]
mod well_known;

fn main() {
    let out = well_known::prepare();

    let proto = "../../../../proto/ttrpc/test/v1/test.proto";
    println!("cargo::rerun-if-changed={proto}");
    // Code that is not async cannot stream, and for such methods it is generated all the same, and
    // does not compile.
    let text = fs::read_to_string(proto).unwrap();
    let unary: Vec<_> = text.lines().filter(|line| !line.contains("(stream ")).collect();
    let proto = out.join("test.proto");
    fs::write(&proto, unary.join("\n")).unwrap();
    Codegen::new()
        .out_dir(&out)
        .input(&proto)
        .include(&out)
        .rust_protobuf()
        .run()
        .expect("the code of the test service is generated");
}
