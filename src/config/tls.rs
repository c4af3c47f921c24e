//! The `tls` of a listener: its files are read once here, so that one that cannot be used is told at
//! the start and where it was named. Knows no listener.

use super::fault::Fault;
use super::file::Tls;
use crate::forward::server_tls::Part;
use crate::forward::settings::TlsFiles;

/// The files named under `place` (`server.tls`), or what is wrong with one.
pub(super) fn resolve(place: &str, written: Option<&Tls>) -> Result<Option<TlsFiles>, Vec<Fault>> {
    let Some(Tls { cert, key, client_ca }) = written.cloned() else { return Ok(None) };
    let files = TlsFiles { cert, key, client_ca };
    files.check().map_err(|unusable| {
        let key = match unusable.part {
            Part::Cert => "cert",
            Part::Key => "key",
            Part::ClientCa => "client_ca",
        };
        vec![Fault::at(format!("{place}.{key}"), unusable.to_string())]
    })?;
    Ok(Some(files))
}
