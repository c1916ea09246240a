//! Generates the code of the benchmark's service, in Rust alone: no protoc is needed.

use std::path::PathBuf;
use std::{env, fs};

use ttrpc_codegen::{Codegen, Customize};

const MODULES: &str = "
pub mod bench;
pub mod bench_ttrpc;
";

fn main() {
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    fs::write(out.join("protos.rs"), MODULES).unwrap();
    let protos = "../proto";
    let proto = format!("{protos}/ttrpc/bench/v1/bench.proto");
    println!("cargo::rerun-if-changed={proto}");
    Codegen::new()
        .out_dir(&out)
        .input(&proto)
        .include(protos)
        .rust_protobuf()
        .customize(Customize { async_all: true, ..Default::default() })
        .run()
        .expect("the code of the service is generated");
}
