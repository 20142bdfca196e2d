//! The bill of materials: a CycloneDX document (specification 1.6) of the program, the crates it is linked from, and
//! models. It is the same for the same program and models: no time, no serial number.
//!
//! The list of crates is `app/dependencies.json`, which `scripts/sbom` writes from Cargo's own graph and continuous
//! integration holds to `Cargo.lock`: a running program cannot know it, and a build script would have to start another
//! Cargo inside the one that builds.

use super::index::{features, target};
use crate::exit::{Exit, Failure};
use crate::store::manifest::Manifest;
use anyhow::Result;
use serde::Deserialize;
use serde_json::{Value, json};

const DEPENDENCIES: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/dependencies.json"));

/// A crate that the program is linked from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dependency {
    name: String,
    version: String,
    /// An SPDX expression.
    licence: String,
    /// Of its package; none for this project's own.
    #[serde(default)]
    sha256: Option<String>,
    /// The feature of the program that brings it.
    #[serde(default)]
    feature: Option<String>,
}

/// The crates that this program is linked from.
///
/// # Errors
/// [`Exit::Internal`] when the list in the program is none.
pub(crate) fn dependencies() -> Result<Vec<Dependency>, Failure> {
    let all: Vec<Dependency> = serde_json::from_str(DEPENDENCIES)
        .map_err(|error| Failure::new(Exit::Internal, format!("dependencies.json: {error}")))?;
    let built = features();
    let is_in = |dependency: &Dependency| match &dependency.feature {
        Some(feature) => built.contains(&feature.as_str()),
        None => true,
    };
    Ok(all.into_iter().filter(is_in).collect())
}

/// The document: `program_sha256` is the hash of the program's file.
pub(crate) fn document(
    dependencies: &[Dependency],
    program_sha256: Option<&str>,
    models: &[Manifest],
) -> serde_json::Result<Vec<u8>> {
    let version = env!("CARGO_PKG_VERSION");
    let mut program = json!({
        "type": "application",
        "bom-ref": "undertone",
        "name": "undertone",
        "version": version,
        "licenses": [{ "expression": env!("CARGO_PKG_LICENSE") }],
        "purl": format!("pkg:cargo/undertone@{version}"),
        "properties": [
            { "name": "undertone:target", "value": target() },
            { "name": "undertone:features", "value": features().join(",") },
        ],
    });
    if let (Some(sha256), Some(fields)) = (program_sha256, program.as_object_mut()) {
        fields.insert("hashes".to_owned(), hashes(sha256));
    }
    let components: Vec<Value> = dependencies.iter().map(library).chain(models.iter().map(model)).collect();
    let uses: Vec<String> = dependencies.iter().map(Dependency::purl).collect();
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": program },
        "components": components,
        "dependencies": [{ "ref": "undertone", "dependsOn": uses }],
    });
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text.into_bytes())
}

fn hashes(sha256: &str) -> Value {
    json!([{ "alg": "SHA-256", "content": sha256 }])
}

impl Dependency {
    fn purl(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version.replace('+', "%2B"))
    }
}

fn library(dependency: &Dependency) -> Value {
    let mut component = json!({
        "type": "library",
        "bom-ref": dependency.purl(),
        "name": dependency.name,
        "version": dependency.version,
        "licenses": [{ "expression": dependency.licence }],
        "purl": dependency.purl(),
    });
    if let (Some(sha256), Some(fields)) = (&dependency.sha256, component.as_object_mut()) {
        fields.insert("hashes".to_owned(), hashes(sha256));
    }
    component
}

/// A model; its licence by name, since not all of them are on SPDX's list.
fn model(manifest: &Manifest) -> Value {
    let files = manifest
        .files
        .iter()
        .map(|file| json!({ "type": "file", "name": file.name, "hashes": hashes(&file.sha256) }));
    json!({
        "type": "machine-learning-model",
        "bom-ref": format!("model:{}", manifest.name),
        "name": manifest.name,
        "description": manifest.title,
        "licenses": [{ "license": { "name": manifest.licence } }],
        "properties": [{ "name": "undertone:source", "value": manifest.source }],
        "components": files.collect::<Vec<Value>>(),
    })
}

#[cfg(test)]
mod unit {
    use super::*;
    use crate::store::kinds::{Format, Kind};
    use std::collections::HashSet;

    #[test]
    fn it_names_every_crate_once_with_a_licence_and_the_models() {
        let dependencies = dependencies().expect("the list is one");
        let mut manifest = Manifest::new("m", Kind::Text, Format::Gguf);
        manifest.licence = "Gemma terms of use".to_owned();
        let bytes = document(&dependencies, Some("ab"), &[manifest]).expect("JSON");
        let document: Value = serde_json::from_slice(&bytes).expect("JSON");
        let components = document["components"].as_array().expect("a list");
        let references: HashSet<&str> =
            components.iter().map(|component| component["bom-ref"].as_str().expect("a reference")).collect();
        assert_eq!(references.len(), components.len());
        let names: HashSet<&str> =
            components.iter().map(|component| component["name"].as_str().expect("a name")).collect();
        for name in ["candle-core", "zstd-sys", "rusqlite", "undertone-kernels", "m"] {
            assert!(names.contains(name), "{name}");
        }
        assert_eq!(names.contains("hf-hub"), cfg!(feature = "fetch"));
        assert_eq!(names.contains("cudarc"), cfg!(feature = "cuda"));
        for component in components {
            let licence = &component["licenses"][0];
            let text = licence["expression"].as_str().or(licence["license"]["name"].as_str());
            assert!(text.is_some_and(|text| !text.is_empty() && text != "unknown"), "{component}");
        }
        assert_eq!(document["metadata"]["component"]["hashes"][0]["content"], "ab");
    }
}
