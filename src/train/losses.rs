//! The sums of the loss that are still on the device.

use burn::tensor::{Device, Tensor};

use super::divergence::{Failure, NotFinite};
use super::progress::HostSums;
use crate::Result;
use crate::tensors::read_floats;

/// Sums of the loss over the steps since they were read last.
#[derive(Default)]
pub(super) struct DeviceLosses {
    /// `[3]`: as [`super::StepLoss::sums`], over all of these steps.
    total: Option<Tensor<1>>,
    /// Those of each step of this process among them, which say which step it was where they are not finite.
    of_steps: Vec<Tensor<1>>,
}

impl DeviceLosses {
    /// Those that a checkpoint holds.
    pub(super) fn resumed(sums: [f32; 3], device: &Device) -> Self {
        Self { total: Some(Tensor::from_data(sums, device)), of_steps: Vec::new() }
    }

    /// Adds the sums of a step.
    pub(super) fn add(&mut self, sums: Tensor<1>) {
        self.of_steps.push(sums.clone());
        self.total = Some(self.total.take().map_or(sums.clone(), |total| total + sums));
    }

    /// The sums, where there are some.
    pub(super) fn total(&self) -> Option<&Tensor<1>> {
        self.total.as_ref()
    }

    /// Takes the sums; the last of them is that of step `num_steps - 1` of the epoch.
    ///
    /// # Errors
    ///
    /// [`Failure::NotFinite`] where the loss is not finite.
    pub(super) fn take(&mut self, num_steps: usize) -> Result<HostSums, Failure> {
        let Some(sums) = self.total.take() else { return Ok(HostSums::default()) };
        let sums = read_floats(sums)?;
        self.check_sum(sums[0], num_steps)?;
        self.of_steps.clear();
        let [cross_entropy, num_correct, num_pairs] = [0, 1, 2].map(|i| f64::from(sums[i]));
        Ok(HostSums { cross_entropy, num_correct, num_pairs })
    }

    /// As [`DeviceLosses::take`], but the sums stay on the device.
    pub(super) fn check(&self, num_steps: usize) -> Result<(), Failure> {
        match &self.total {
            Some(sums) => self.check_sum(read_floats(sums.clone())?[0], num_steps),
            None => Ok(()),
        }
    }

    /// Checks a sum of the loss. Where it is not finite, the sums of the steps behind it say since when.
    fn check_sum(&self, sum: f32, num_steps: usize) -> Result<(), Failure> {
        if sum.is_finite() {
            return Ok(());
        }
        let first = num_steps - self.of_steps.len();
        for (i, sums) in self.of_steps.iter().enumerate() {
            let value = read_floats(sums.clone())?[0];
            if !value.is_finite() {
                return Err(
                    NotFinite { what: format!("the loss became {value}"), step: Some(first + i) }.into()
                );
            }
        }
        Err(NotFinite { what: format!("the sum of the loss became {sum}"), step: None }.into())
    }
}
