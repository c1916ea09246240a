//! What the build scripts of both ttrpc peers share.

use std::path::PathBuf;
use std::{env, fs};

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

/// Writes what ttrpc-codegen needs beside the proto file. Returns the folder of what is generated.
pub fn prepare() -> PathBuf {
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    let known = out.join("google/protobuf");
    fs::create_dir_all(&known).unwrap();
    fs::write(known.join("any.proto"), ANY).unwrap();
    fs::write(known.join("empty.proto"), EMPTY).unwrap();
    fs::write(out.join("protos.rs"), MODULES).unwrap();
    out
}
