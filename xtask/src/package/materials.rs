//! The bill of materials: every crate in the binary and in the kernel's program, as CycloneDX 1.5 in JSON.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Source, VERSION};
use crate::caller::{answer, cargo, run};
use crate::place::Place;
use crate::program::built;

/// Crates that must be in it: TLS, its cryptography, both sides of the kernel's program.
const KNOWN: [&str; 4] = ["rustls", "aws-lc-sys", "aya", "aya-ebpf"];

/// Writes the bill into `folder` and returns its file.
///
/// # Errors
///
/// If cargo-cyclonedx does not succeed, or what it writes is no sound bill of this product.
pub fn list(source: &Source, place: &Place, folder: &Path) -> Result<PathBuf> {
    let skeleton = skeleton(source)?;
    run(Command::new(built(place, "cargo-cyclonedx")?)
        .current_dir(&skeleton)
        .args(["cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5"])
        .args(["--describe", "binaries"])
        .env("SOURCE_DATE_EPOCH", source.epoch.to_string()))?;
    let read = |file: &str| -> Result<Value> {
        let text = fs::read_to_string(skeleton.join(file)).with_context(|| file.to_owned())?;
        // Crates of ours are told apart by where they lie, which is no matter of the product.
        let here = format!("path+file://{}", skeleton.display());
        Ok(serde_json::from_str(&text.replace(&here, "path+file:///sallyport"))?)
    };
    let mut bill = read("relay/sallyport_bin.cdx.json")?;
    join(&mut bill, read("relay-ebpf/sallyport-gate_bin.cdx.json")?)?;
    sound(&bill, &fs::read_to_string(source.top.join("Cargo.lock"))?)?;

    let path = folder.join(format!("sallyport-{VERSION}.cdx.json"));
    fs::write(&path, serde_json::to_string_pretty(&bill)? + "\n")?;
    Ok(path)
}

/// Makes a workspace of the same manifests with empty sources, and returns its folder: cargo-cyclonedx writes beside
/// the manifests that it reads.
fn skeleton(source: &Source) -> Result<PathBuf> {
    let folder = source.top.join("target/package/materials");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let place = |path: &str| -> Result<PathBuf> {
        let path = folder.join(Path::new(path).strip_prefix(&source.top)?);
        fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
        Ok(path)
    };
    let metadata = ["metadata", "--no-deps", "--format-version", "1", "--locked"];
    let metadata = answer(cargo().current_dir(&source.top).args(metadata))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    for package in metadata["packages"].as_array().context("cargo metadata tells of no packages")? {
        let manifest = package["manifest_path"].as_str().context("a package has a manifest")?;
        fs::copy(manifest, place(manifest)?)?;
        for target in package["targets"].as_array().context("a package has targets")? {
            fs::write(place(target["src_path"].as_str().context("a target has a source")?)?, "")?;
        }
    }
    for name in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(source.top.join(name), folder.join(name))?;
    }
    Ok(folder)
}

/// Adds what another bill has to `bill`, with its subject as one of the parts.
fn join(bill: &mut Value, mut other: Value) -> Result<()> {
    let subject = other["metadata"]["component"].take();
    for (list, key) in [("components", "bom-ref"), ("dependencies", "ref")] {
        let added = other[list].as_array_mut().map(std::mem::take).context("a bill has lists")?;
        let known = bill[list].as_array_mut().context("a bill has lists")?;
        let subject = (list == "components").then(|| subject.clone());
        for part in added.into_iter().chain(subject) {
            if !known.iter().any(|one| one[key] == part[key]) {
                known.push(part);
            }
        }
    }
    let whole = bill["metadata"]["component"]["bom-ref"].clone();
    let dependencies = bill["dependencies"].as_array_mut().context("a bill has lists")?;
    let whole = dependencies.iter_mut().find(|one| one["ref"] == whole);
    let parts = whole.and_then(|one| one["dependsOn"].as_array_mut());
    parts.context("the product has parts")?.push(subject["bom-ref"].clone());
    Ok(())
}

/// Shows that a bill has the shape that readers rely on, and that each crate in it is the one that `lock` names.
fn sound(bill: &Value, lock: &str) -> Result<()> {
    ensure!(bill["bomFormat"] == "CycloneDX" && bill["specVersion"] == "1.5", "no CycloneDX 1.5");
    let product = &bill["metadata"]["component"];
    ensure!(product["name"] == "sallyport" && product["version"] == VERSION, "not of {VERSION}");

    let mut known: BTreeSet<&str> = product["bom-ref"].as_str().into_iter().collect();
    let parts = bill["components"].as_array().context("a bill has components")?;
    for part in parts {
        let word = |key: &str| part[key].as_str().with_context(|| format!("no {key}: {part}"));
        let (reference, name, version) = (word("bom-ref")?, word("name")?, word("version")?);
        ensure!(known.insert(reference), "{reference} is there twice");
        ensure!(part["licenses"][0]["expression"].is_string(), "{name} {version} has no licence");
        if reference.starts_with("registry+") {
            ensure!(word("purl")?.starts_with(&format!("pkg:cargo/{name}@")), "purl of {name}");
            let sum = part["hashes"][0]["content"].as_str().unwrap_or_default();
            let locked = format!("name = \"{name}\"\nversion = \"{version}\"\n");
            let locked = lock.split_once(&locked).and_then(|(_, rest)| rest.split("\n\n").next());
            let locked = locked.with_context(|| format!("{name} {version} is not locked"))?;
            ensure!(locked.contains(&format!("checksum = \"{sum}\"")), "sum of {name} {version}");
        }
    }
    for dependency in bill["dependencies"].as_array().context("a bill has dependencies")? {
        let parts = dependency["dependsOn"].as_array().into_iter().flatten();
        for reference in std::iter::once(&dependency["ref"]).chain(parts) {
            let is_known = reference.as_str().is_some_and(|reference| known.contains(reference));
            ensure!(is_known, "{reference} is named and not told of");
        }
    }
    for name in KNOWN {
        ensure!(parts.iter().any(|part| part["name"] == name), "{name} is missing");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LOCK: &str = "[[package]]\nname = \"rustls\"\nversion = \"1.0.0\"\nsource = \"s\"\nchecksum = \"00\"\n\n\
        [[package]]\nname = \"aws-lc-sys\"\nversion = \"1.0.0\"\nchecksum = \"01\"\n\n\
        [[package]]\nname = \"aya\"\nversion = \"1.0.0\"\nchecksum = \"02\"\n\n\
        [[package]]\nname = \"aya-ebpf\"\nversion = \"1.0.0\"\nchecksum = \"03\"\n";

    fn part(name: &str, sum: &str) -> Value {
        json!({
            "bom-ref": format!("registry+x#{name}@1.0.0"), "name": name, "version": "1.0.0",
            "licenses": [{"expression": "MIT"}], "purl": format!("pkg:cargo/{name}@1.0.0"),
            "hashes": [{"alg": "SHA-256", "content": sum}],
        })
    }

    fn bill(name: &str, parts: &[Value]) -> Value {
        let reference = format!("path+file:///sallyport/{name}#1");
        let names: Vec<_> = parts.iter().map(|part| part["bom-ref"].clone()).collect();
        json!({
            "bomFormat": "CycloneDX", "specVersion": "1.5",
            "metadata": {"component": {
                "bom-ref": reference, "name": name, "version": VERSION, "licenses": [{"expression": "MIT"}],
            }},
            "components": parts,
            "dependencies": [{"ref": reference, "dependsOn": names}],
        })
    }

    fn whole() -> Value {
        let shared = part("aya", "02");
        let mut whole =
            bill("sallyport", &[part("rustls", "00"), part("aws-lc-sys", "01"), shared.clone()]);
        join(&mut whole, bill("sallyport-gate", &[shared, part("aya-ebpf", "03")])).unwrap();
        whole
    }

    #[test]
    fn the_kernel_s_program_is_a_part_of_the_product_and_what_both_have_is_there_once() {
        let whole = whole();
        sound(&whole, LOCK).unwrap();
        assert_eq!(whole["components"].as_array().unwrap().len(), 5);
        let parts = whole["dependencies"][0]["dependsOn"].as_array().unwrap();
        assert_eq!(parts.last().unwrap(), "path+file:///sallyport/sallyport-gate#1");
        assert_eq!(whole["dependencies"][1]["dependsOn"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_bill_that_is_not_sound_is_refused_by_what_is_wrong() {
        let wrong = |change: &dyn Fn(&mut Value)| {
            let mut bill = whole();
            change(&mut bill);
            sound(&bill, LOCK).unwrap_err().to_string()
        };
        let said = wrong(&|bill| bill["components"][0]["hashes"][0]["content"] = "ff".into());
        assert_eq!(said, "sum of rustls 1.0.0");
        let said = wrong(&|bill| bill["components"][0]["version"] = "2.0.0".into());
        assert_eq!(said, "rustls 2.0.0 is not locked");
        let said = wrong(&|bill| bill["components"][0]["licenses"] = json!([]));
        assert_eq!(said, "rustls 1.0.0 has no licence");
        let said = wrong(&|bill| bill["dependencies"][0]["dependsOn"][0] = "gone".into());
        assert_eq!(said, "\"gone\" is named and not told of");
        let said = wrong(&|bill| bill["metadata"]["component"]["version"] = "0".into());
        assert_eq!(said, format!("not of {VERSION}"));
        let said = wrong(&|bill| bill["specVersion"] = "1.3".into());
        assert_eq!(said, "no CycloneDX 1.5");
    }
}
