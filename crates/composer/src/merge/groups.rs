//! Which package each file of a root is of.

use image::{Groups, Store, Tree};

use super::intake::owners;
use super::vdb::{Vdb, record_dir};
use crate::error::ComposeError;

/// The files of a root by package, its record in `/var/db/pkg` included, as the records say: what one package brings is together in every
/// image that has it.
pub fn groups(tree: &Tree, store: &Store) -> Result<Groups, ComposeError> {
    let vdb = Vdb::read(tree, store)?;
    let records = vdb.installed().iter().flat_map(|installed| {
        let name = installed.cpv.to_string();
        tree.below(record_dir(&installed.cpv)).into_iter().map(move |(path, _)| (path.to_vec(), name.clone()))
    });
    Ok(Groups::new(owners(tree, store, &vdb)?.into_iter().chain(records)))
}
