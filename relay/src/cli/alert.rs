//! `sallyport alert …`: what people are told.

mod replay;

use super::args::AlertVerb;
use crate::config::Config;

pub use replay::ReplayError;

/// Does what a verb says.
///
/// # Errors
///
/// [`ReplayError`].
pub fn alert(config: &Config, verb: &AlertVerb) -> Result<(), ReplayError> {
    match verb {
        AlertVerb::Replay { files, output } => {
            replay::print(&replay::replay(files, config.spikes.clone())?, output.form());
            Ok(())
        }
    }
}
