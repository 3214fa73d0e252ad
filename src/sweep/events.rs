//! What a sweep reports to its caller while it runs.

use ipsight_search::study::Study;

use crate::Result;

/// An event of a sweep.
#[derive(Debug)]
pub enum SweepEvent {
    /// A trial began.
    Began {
        /// Its number.
        trial: usize,
    },
    /// A trial that had paused or was interrupted continues.
    GoesOn {
        /// Its number.
        trial: usize,
    },
    /// One of a trial's trainings has finished an epoch.
    Epoch {
        /// The trial.
        trial: usize,
        /// Epochs of this training.
        epoch: u32,
        /// The metric that early stopping compares.
        value: Option<f64>,
    },
    /// A trial has paused.
    Paused {
        /// Its number.
        trial: usize,
    },
    /// A trial has ended; the study has its state.
    Finished {
        /// Its number.
        trial: usize,
        /// Whether it is the best so far.
        is_best: bool,
    },
    /// A moment passed without another event.
    Tick,
}

/// The caller's function for events. It gets the study as it is after the event; an error from it ends the sweep.
pub type OnEvent<'a> = &'a mut dyn FnMut(&SweepEvent, &Study) -> Result<()>;
