//! Generates the code of the test service, in Rust alone: no protoc is needed.

use std::path::PathBuf;
use std::{env, fs};

use ttrpc_codegen::Codegen;

// ttrpc-codegen's parser has no well-known types built in; the code for these two comes from the
// crate protobuf all the same.
const ANY: &str = r#"
syntax = "proto3";
package google.protobuf;
message Any { string type_url = 1; bytes value = 2; }
"#;
const EMPTY: &str = r#"
syntax = "proto3";
package google.protobuf;
message Empty {}
"#;

const MODULES: &str = "
pub mod empty { pub use protobuf::well_known_types::empty::*; }
pub mod test;
pub mod test_ttrpc;
";

fn main() {
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    let known = out.join("google/protobuf");
    fs::create_dir_all(&known).unwrap();
    fs::write(known.join("any.proto"), ANY).unwrap();
    fs::write(known.join("empty.proto"), EMPTY).unwrap();
    fs::write(out.join("protos.rs"), MODULES).unwrap();

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
