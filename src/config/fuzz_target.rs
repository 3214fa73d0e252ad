//! The fuzz target of configurations.

use super::Config;
use super::layers::Layers;

/// A configuration's TOML: what is taken is written as TOML that gives the same configuration.
pub fn config(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Some(config) = read(text) {
        // NaN is never a value, so a configuration is equal to itself.
        assert_eq!(read(&config.to_toml()), Some(config));
    }
}

fn read(text: &str) -> Option<Config> {
    let mut layers = Layers::default();
    layers.add_text("config.toml", text).ok()?;
    Config::of_layers(&layers).ok()
}
