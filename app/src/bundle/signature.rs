//! The signature over a bundle's hashes, as minisign writes and checks it.

use super::archive::bad;
use crate::exit::{Exit, Failure};
use crate::store::disk;
use minisign::{SecretKey, SecretKeyBox};
use minisign_verify::{PublicKey, Signature};
use std::io::Read as _;
use std::path::Path;

/// Keys, passwords and their like are small.
const MAX_KEY_BYTES: u64 = 16 << 10;

/// How a secret key with a password begins: Ed25519, scrypt and BLAKE2b in base64 (minisign(1), "Secret key format").
const LOCKED: &str = "RWRTY0Iy";

/// Whether a bundle is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Signed {
    /// It is not.
    No,
    /// It is, by whoever: no key was given to check it with.
    Unchecked,
    /// By the key that was given.
    Good,
}

impl Signed {
    /// One line for people.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::No => "not signed: who made it is not known",
            Self::Unchecked => "signed, not checked: give --public-key to know by whom",
            Self::Good => "signed by the key that was given",
        }
    }
}

/// What the signature of a bundle is worth.
///
/// # Errors
/// [`Exit::Input`] when it is not one, or with a `key` that it is missing or another's.
pub(crate) fn check(
    bundle: &Path,
    sums: &[u8],
    signature: Option<&[u8]>,
    key: Option<&PublicKey>,
) -> Result<Signed, Failure> {
    let Some(signature) = signature else {
        return match key {
            Some(_) => Err(bad(bundle, "is not signed")),
            None => Ok(Signed::No),
        };
    };
    let text = std::str::from_utf8(signature).ok();
    let signature = text.and_then(|text| Signature::decode(text).ok());
    let signature = signature.ok_or_else(|| bad(bundle, "is damaged: its signature is not one"))?;
    let Some(key) = key else { return Ok(Signed::Unchecked) };
    match key.verify(sums, &signature, false) {
        Ok(()) => Ok(Signed::Good),
        Err(_) => Err(bad(bundle, "is not signed by this key, or its list of hashes was changed")),
    }
}

/// The public key that `text` is, or that is in the file of this name.
///
/// # Errors
/// [`Exit::Usage`] when it is neither.
pub(crate) fn public_key(text: &str) -> Result<PublicKey, Failure> {
    if let Ok(key) = PublicKey::from_base64(text) {
        return Ok(key);
    }
    let written = read(Path::new(text))?;
    let key = PublicKey::decode(written.trim_end()).or_else(|_| PublicKey::from_base64(written.trim()));
    key.map_err(|_| Failure::new(Exit::Usage, format!("{text} is not a public key of minisign")))
}

/// A key that signs.
pub(crate) struct Signer(SecretKey);

impl Signer {
    /// The key in `file`; with a password, from `password_file` or else asked for on the terminal.
    ///
    /// # Errors
    /// [`Exit::Usage`] when it is no key, or the password is wrong.
    pub(crate) fn open(file: &Path, password_file: Option<&Path>) -> Result<Self, Failure> {
        let fail = |what: &str| Failure::new(Exit::Usage, format!("{} {what}", file.display()));
        let text = read(file)?;
        let is_locked = text.lines().nth(1).is_some_and(|line| line.starts_with(LOCKED));
        let boxed = SecretKeyBox::from(text);
        if !is_locked {
            let key = boxed.into_unencrypted_secret_key();
            return key.map(Self).map_err(|_| fail("is not a secret key of minisign"));
        }
        let password = match password_file {
            Some(path) => Some(read(path)?.lines().next().unwrap_or_default().to_owned()),
            None if std::io::IsTerminal::is_terminal(&std::io::stdin()) => None,
            None => return Err(fail("has a password: give --password-file, or run this on a terminal")),
        };
        let key = boxed.into_secret_key(password);
        key.map(Self).map_err(|_| fail("cannot be used: the password is wrong, or the key damaged"))
    }

    /// The signature over these bytes, as a file.
    ///
    /// # Errors
    /// [`Exit::Internal`] when the system gives no random numbers.
    pub(crate) fn sign(&self, bytes: &[u8]) -> Result<String, Failure> {
        let comment = concat!("undertone ", env!("CARGO_PKG_VERSION"), " bundle");
        let signed = minisign::sign(None, &self.0, bytes, Some(comment), None);
        let fail = |error| Failure::new(Exit::Internal, format!("the bundle could not be signed: {error}"));
        signed.map(|signed| signed.into_string()).map_err(fail)
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let fail = |why: String| Failure::new(Exit::Usage, format!("{} cannot be read: {why}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| fail(disk::reason(&error)))?;
    let mut text = String::new();
    file.take(MAX_KEY_BYTES).read_to_string(&mut text).map_err(|error| fail(disk::reason(&error)))?;
    Ok(text)
}
