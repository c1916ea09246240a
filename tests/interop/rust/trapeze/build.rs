//! Generates the code of the test service, in Rust alone: no protoc is needed.

use prost::Message as _;
use prost_types::FileDescriptorSet;
use protobuf::Message as _;

fn main() {
    let protos = "../../../../proto";
    let proto = format!("{protos}/ttrpc/test/v1/test.proto");
    println!("cargo::rerun-if-changed={proto}");
    // prost would call protoc, but takes what another parser has parsed, too.
    let parsed = protobuf_parse::Parser::new()
        .pure()
        .include(protos)
        .input(&proto)
        .file_descriptor_set()
        .expect("the proto file is parsed");
    let bytes = parsed.write_to_bytes().unwrap();
    trapeze_codegen::Config::new()
        .compile_fds(FileDescriptorSet::decode(bytes.as_slice()).unwrap())
        .expect("the code of the test service is generated");
}
