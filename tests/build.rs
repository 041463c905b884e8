//! Tells the tests where the kernel programs are that the gate is measured with; relay's build script made them.

#![forbid(unsafe_code)]

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if let Ok(object) = std::env::var("DEP_SALLYPORT_KERNEL_MEASURE") {
        println!("cargo:rerun-if-changed={object}");
        println!("cargo:rustc-env=SALLYPORT_MEASURE={object}");
    }
}
