//! Generates the code of the test service, in Rust alone: no protoc is needed.

use std::path::PathBuf;
use std::{env, fs};

use protobuf::Message as _;
use protobuf::descriptor::{DescriptorProto, FileDescriptorSet};

const EMPTY: &str = ".google.protobuf.Empty";

fn main() {
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    let protos = "../../../../proto";
    let proto = format!("{protos}/ttrpc/test/v1/test.proto");
    println!("cargo::rerun-if-changed={proto}");
    // prost would call protoc, but takes what another parser has parsed, too.
    let mut parsed = protobuf_parse::Parser::new()
        .pure()
        .include(protos)
        .input(&proto)
        .file_descriptor_set()
        .expect("the proto file is parsed");
    replace_empty(&mut parsed);
    let descriptors = out.join("descriptors.bin");
    fs::write(&descriptors, parsed.write_to_bytes().unwrap()).unwrap();
    rama_ttrpc_build::configure()
        .with_out_dir(&out)
        .with_skip_protoc_run()
        .with_file_descriptor_set_path(&descriptors)
        .compile_protos(&[proto.as_str()], &[protos])
        .expect("the code of the test service is generated");
}

// prost has `()` for google.protobuf.Empty, and rama-ttrpc-build panics when it makes the name of
// an argument of that. A message of our own without fields has the same bytes: none.
fn replace_empty(set: &mut FileDescriptorSet) {
    let file = set.file.iter_mut().find(|file| file.package() == "ttrpc.test.v1").unwrap();
    let mut none = DescriptorProto::new();
    none.set_name("NoFields".into());
    file.message_type.push(none);
    for method in file.service.iter_mut().flat_map(|service| &mut service.method) {
        for name in [&mut method.input_type, &mut method.output_type] {
            if name.as_deref() == Some(EMPTY) {
                *name = Some(".ttrpc.test.v1.NoFields".into());
            }
        }
    }
}
