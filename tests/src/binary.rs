//! Where the built `halley` binary is.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    // This crate is the folder `tests` at the top.
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

/// The `halley` binary, built from the present sources in the profile and target folder of the running test;
/// `HALLEY_BIN` names another one instead.
///
/// # Errors
/// The build failed.
pub fn halley() -> anyhow::Result<PathBuf> {
    match std::env::var_os("HALLEY_BIN") {
        Some(given) => Ok(given.into()),
        None => Ok(built(&["--bin", "halley"])?.join("halley")),
    }
}

/// An example of the crate `halley`, built likewise.
///
/// # Errors
/// The build failed.
pub fn example(name: &str) -> anyhow::Result<PathBuf> {
    Ok(built(&["--example", name])?.join("examples").join(name))
}

/// Builds something of the crate `halley`; returns the folder of the profile.
fn built(what: &[&str]) -> anyhow::Result<PathBuf> {
    // target/PROFILE/deps/test-hash
    let test = std::env::current_exe()?;
    let profile_folder = test
        .ancestors()
        .nth(2)
        .context("the test does not lie in a target folder")?;
    let target = profile_folder
        .parent()
        .context("the test does not lie in a target folder")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(repository())
        .args(["build", "--locked", "--quiet", "--package", "halley"])
        .args(what)
        .arg("--target-dir")
        .arg(target);
    if profile_folder.ends_with("release") {
        cargo.arg("--release");
    }
    ensure!(
        cargo.status()?.success(),
        "cargo could not build {}",
        what.join(" ")
    );
    Ok(profile_folder.to_path_buf())
}
