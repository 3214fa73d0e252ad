//! Entities that a model was not trained on: what is done with their events.

use std::str::FromStr;

use burn::tensor::Tensor;

use crate::model_folder::EntityFilter;
use crate::{At, Error, Result, nearest};

/// What is done with an event of an entity that the model was not trained on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unseen {
    /// It is scored by whatever the entity's table row holds, and `entity_seen` is false.
    #[default]
    Flag,
    /// It is scored as an event of the [`Population::prior`], and `entity_seen` is false.
    Prior,
    /// It is scored by a model with a usage history as any other entity: by its counts, which are 0.
    Score,
    /// It is refused.
    Error,
}

impl Unseen {
    /// Every choice.
    pub const ALL: [Unseen; 4] = [Unseen::Flag, Unseen::Prior, Unseen::Score, Unseen::Error];

    /// What a model of the engine alone, or one with a usage history, takes.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a choice of the other kind of model.
    pub fn check(self, has_history: bool) -> Result<()> {
        let (what, help) = match (self, has_history) {
            (Unseen::Flag | Unseen::Prior, true) => {
                ("this model scores an unseen entity by its counts, which are 0", "take `score` or `error`")
            }
            (Unseen::Score, false) => (
                "this model has no usage history to score an unseen entity by",
                "take `flag`, `prior` or `error`",
            ),
            _ => return Ok(()),
        };
        Err(Error::config(At::option_of("unseen", self.name()), what, help))
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Unseen::Flag => "flag",
            Unseen::Prior => "prior",
            Unseen::Score => "score",
            Unseen::Error => "error",
        }
    }

    /// Why an event is refused, and what to do about it.
    pub const REFUSED: [&str; 2] = [
        "the model was not trained on this entity",
        "train again with its events, or leave out the option unseen",
    ];
}

impl FromStr for Unseen {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Unseen::ALL.into_iter().find(|choice| choice.name() == text).ok_or_else(|| {
            let names = Unseen::ALL.map(Unseen::name);
            let near = nearest(text, names).map_or(String::new(), |near| format!("did you mean `{near}`? "));
            let help = format!("{near}there are {}", names.join(", "));
            Error::config(At::option("unseen"), format!("no such choice `{text}`"), help)
        })
    }
}

/// What a model folder knows of the entities as a whole.
#[derive(Debug)]
pub struct Population {
    /// Those that the model was trained on.
    pub filter: EntityFilter,
    /// `[1, width + 1]`: the entity as which one that was not seen can be scored, folded
    /// ([`crate::model::prior_entity`]).
    pub prior: Tensor<2>,
}
