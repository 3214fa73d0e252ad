//! A generative model of logins, for trying out and measuring without anyone's data.
//!
//! It is that of the example notebook of SageMaker IP Insights: users with a home and a work network, some of
//! whom travel. Attacks are logins of a real user from somewhere else, of several kinds. As the model is known,
//! so is the best that any detector can do on its logins: [`Population::densities`] are exact, and by the lemma
//! of Neyman and Pearson no score has a better ROC than [`AttackMix::log_likelihood_ratio`].

mod attack_kind;
mod attacks;
mod files;
mod generate;
mod ipv6;
mod login;
mod population;
mod profile;
mod ranges;
mod row_spread;
mod streams;
#[cfg(test)]
mod tests;

pub use attack_kind::{AttackKind, NORMAL, NUM_KINDS};
pub use attacks::{AttackMix, LabelledLogin, LabelledTest};
pub use files::write_files;
pub use generate::{GenerateOptions, GeneratedLogins, generate};
pub use ipv6::Ipv6Shares;
pub use login::{Login, user_name};
pub use population::{Densities, Population};
pub use profile::{P_TRAVEL_BETA, UserProfile};
pub use ranges::AddressRanges;
