//! Attacks on generated users, and what is to be known of each event: the labelled test.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::attack_kind::{AttackKind, NORMAL, OPTION, stream_of};
use super::login::Login;
use super::population::{Densities, Population, log_ratio};
use super::streams::{ATTACK_STREAM, stream};
use crate::{At, Error, Result};

/// The kinds of attacks and how many of each, as fractions of the number of test logins.
#[derive(Clone, Debug, PartialEq)]
pub struct AttackMix {
    fractions: Vec<(AttackKind, f64)>,
}

impl AttackMix {
    /// Checks the fractions: at least one, each above 0 and at most 100, no kind twice.
    ///
    /// # Errors
    /// [`Error::Config`] about `attacks`.
    pub fn new(fractions: Vec<(AttackKind, f64)>) -> Result<Self> {
        let refuse = |what: String, help: &str| Err(Error::config(At::option(OPTION), what, help));
        if fractions.is_empty() {
            return refuse("there is no kind of attack".into(), "give at least one KIND=FRACTION");
        }
        for (i, &(kind, fraction)) in fractions.iter().enumerate() {
            if !(fraction > 0.0 && fraction <= 100.0) {
                let what = format!("{}={fraction} is out of range", kind.name());
                return refuse(what, "a fraction of the test logins is above 0 and at most 100");
            }
            if fractions[..i].iter().any(|&(earlier, _)| earlier == kind) {
                return refuse(format!("{} is given twice", kind.name()), "give each kind once");
            }
        }
        Ok(AttackMix { fractions })
    }

    /// Reads `KIND=FRACTION` texts.
    ///
    /// # Errors
    /// [`Error::Config`] about `attacks`, as [`AttackMix::new`], and for a text that is none.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self> {
        let parse = |text: &S| {
            let text = text.as_ref();
            let refuse = |what| {
                Error::config(At::option(OPTION), what, "for example: address_ranges=0.5 neighbour=0.5")
            };
            let (kind, fraction) =
                text.split_once('=').ok_or_else(|| refuse(format!("`{text}` is not KIND=FRACTION")))?;
            let number =
                fraction.parse().map_err(|_| refuse(format!("`{fraction}` in `{text}` is not a number")))?;
            Ok((kind.parse()?, number))
        };
        AttackMix::new(texts.iter().map(parse).collect::<Result<_>>()?)
    }

    /// As many attacks as test logins, in equal shares of the kinds that the population allows.
    pub fn equal_shares(population: &Population) -> Self {
        let kinds: Vec<AttackKind> =
            AttackKind::ALL.into_iter().filter(|&kind| population.allows(kind)).collect();
        let share = 1.0 / kinds.len() as f64;
        AttackMix { fractions: kinds.into_iter().map(|kind| (kind, share)).collect() }
    }

    /// Checks that the population allows every kind.
    ///
    /// # Errors
    /// [`Error::Config`] about `attacks`.
    pub fn check(&self, population: &Population) -> Result<()> {
        match self.fractions.iter().find(|(kind, _)| !population.allows(*kind)) {
            None => Ok(()),
            Some((kind, _)) => {
                let what = format!("{} needs {}", kind.name(), kind.needs());
                Err(Error::config(At::option(OPTION), what, "leave this kind out"))
            }
        }
    }

    /// The kinds with their fractions, as they were given.
    pub fn fractions(&self) -> &[(AttackKind, f64)] {
        &self.fractions
    }

    /// ln p(ip | attack) - ln p(ip | login), where an attack is of each kind with its share of all fractions.
    /// High = anomalous: the best score that there is against this mixture.
    ///
    /// `inf` where no login can come from the address, `-inf` where only logins can.
    pub fn log_likelihood_ratio(&self, densities: &Densities) -> f64 {
        let total: f64 = self.fractions.iter().map(|(_, fraction)| fraction).sum();
        let of = |&(kind, fraction): &(AttackKind, f64)| fraction / total * densities.attacks[kind as usize];
        log_ratio(self.fractions.iter().map(of).sum(), densities.normal)
    }

    /// The attacks, one kind after the other. Each takes its user and time from the next test login, beginning
    /// again after the last. A kind has its own stream of random numbers: its i-th draw does not depend on the
    /// draws of other kinds, though its user depends on how many attacks come before.
    fn draw(&self, population: &Population, test: &[Login], seed: u64) -> Vec<LabelledLogin> {
        let mut attacks = Vec::new();
        let mut fraction_so_far = 0.0;
        let mut victims = test.iter().cycle();
        for &(kind, fraction) in &self.fractions {
            fraction_so_far += fraction;
            let mut rng = stream(seed, ATTACK_STREAM + stream_of(kind));
            // Sums are rounded rather than fractions, so that fractions that sum to 1 give as many attacks as logins.
            let end = (fraction_so_far * test.len() as f64).round() as usize;
            let num_attacks = end.saturating_sub(attacks.len());
            attacks.extend(victims.by_ref().take(num_attacks).map(|login| {
                let address = population.draw_attack(kind, login.user, &mut rng);
                LabelledLogin { login: Login { address, ..*login }, kind: Some(kind) }
            }));
        }
        attacks
    }
}

/// A login of the test, or an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LabelledLogin {
    /// Who, from where and when.
    pub login: Login,
    /// The kind of an attack; `None` for a login.
    pub kind: Option<AttackKind>,
}

impl LabelledLogin {
    /// The name of its kind: `normal` for a login.
    pub fn kind_name(&self) -> &'static str {
        self.kind.map_or(NORMAL, AttackKind::name)
    }
}

/// The logins of a test and attacks, in random order, with the model that they come from.
pub struct LabelledTest<'a> {
    population: &'a Population<'a>,
    mix: AttackMix,
    rows: Vec<LabelledLogin>,
}

impl<'a> LabelledTest<'a> {
    /// Draws the attacks; `test` are logins of the population's users. The seed determines them.
    ///
    /// # Errors
    /// [`Error::Config`] for a kind of attack that the population does not allow.
    ///
    /// # Panics
    /// If a login is of a user who is not in the population.
    pub fn draw(population: &'a Population<'a>, test: &[Login], mix: AttackMix, seed: u64) -> Result<Self> {
        mix.check(population)?;
        let mut rows: Vec<LabelledLogin> =
            test.iter().map(|&login| LabelledLogin { login, kind: None }).collect();
        rows.extend(mix.draw(population, test, seed));
        // Any order that does not tell the label will do; a fixed one makes the file reproducible.
        rows.shuffle(&mut ChaCha8Rng::seed_from_u64(0));
        Ok(LabelledTest { population, mix, rows })
    }

    /// The logins and the attacks.
    pub fn rows(&self) -> &[LabelledLogin] {
        &self.rows
    }

    /// The kinds of attacks and their fractions.
    pub fn mix(&self) -> &AttackMix {
        &self.mix
    }

    /// The probabilities of a row's address for a login of its user and for an attack on it.
    pub fn densities(&self, row: &LabelledLogin) -> Densities {
        self.population.densities(row.login.user, row.login.address)
    }
}
