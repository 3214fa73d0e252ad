"""docs/accuracy.md from what was measured."""

from figures import auc, fpr, mean_of_folds, median, points_lost

HEAD = """# Accuracy

```sh
cargo build --release --locked && python3 benches/accuracy --data DATA
```

This page is written by that command; `--set SET` measures one set anew and keeps the others, `--help` says what DATA holds.
The model is that of `configs/default.toml`, one for all sets, trained with the seeds 1, 2 and 3 where a set does not say
otherwise. A figure is the median over the seeds; in brackets is its interval of 95 % (AUC: DeLong; rates: Wilson, with the
threshold taken as given). An attack is the positive class, FPR the share of ordinary events that are flagged at a
threshold that flags at least the share TPR of the attacks.

**All of these are development sets**: the model and its defaults were chosen by looking at them. Figures on other data
may be worse.

| row | detector |
|---|---|
| ipsight | the recommended model, which stands still at the end of its training |
| closed form | the sum of the log ratios of the usage history, without a trained head |
| Freeman et al. | ratio of likelihoods (NDSS 2016), over /16, /24, /32 and /32, /48, /64 |
| table /N (/M) | minus the number of the account's events in the event's network, of IPv4 (of IPv6) |
| online | the same detector where each event is counted after it was scored |

`other_users` attacks have the address of another account's event of the test, one beside each event; `neighbour` an address of
the event's own /16 without its /24 (IPv6: `neighbour_48` in its /48, `neighbour_32` in its /32 without its /48);
`uniform` any address (of 2000::/3). *Seen* are accounts that have events in the training.
"""

NAMES = {
    "ipsight": "ipsight",
    "closed_form": "closed form",
    "likelihood_ratio": "Freeman et al.",
    "ip_table": "table /32 (/64)",
    "subnet_24_table": "table /24 (/56)",
    "subnet_16_table": "table /16 (/48)",
    "subnet_8_table": "table /8 (/32)",
}
RIVALS = [name for name in NAMES if name != "ipsight"]
ONLINE = ["ipsight", "closed_form", "likelihood_ratio"]
RATES = {"AUC": auc, "FPR at TPR .90": fpr("0.9"), "FPR at TPR .99": fpr("0.99")}

TITLES = {
    "tor": "tor: relays and their IPv4 addresses",
    "tor_both": "tor: both families in one model",
    "irc_ubuntu": "irc_ubuntu: joins of a large chat, little recurrence",
    "irc_duraspace": "irc_duraspace: joins of a project's chat, one split",
    "irc_duraspace_folds": "irc_duraspace: twelve rolling half-years",
    "generated": "generated: logins of `ipsight generate`, with the ceiling",
    "logins": "logins: those of another generator",
    "ablation": "What each part adds",
}


def table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def cell(figure, digits=4):
    return figure.text(digits) if figure else "-"


def rows_of(measured, columns, digits=4, online=True):
    """A row for each detector: `columns` are (evaluation, path, figure), of `frozen` and `others`."""
    rows = []
    for name, label in NAMES.items():
        cells = [median(measured[which], name, path, figure) for which, path, figure in columns]
        rows.append([label, *(cell(found, digits) for found in cells)])
    if online:
        for name in ONLINE:
            cells = [median(measured["online"], name, path, figure) for _, path, figure in columns]
            rows.append([f"{NAMES[name]}, online", *(cell(found, digits) for found in cells)])
    return rows


def sizes(measured):
    return (f"{measured['num_train']:,} events of {measured['num_entities']:,} accounts to train on, "
            f"{measured['num_test']:,} to test on, {100 * measured['share_seen']:.1f} % of them of accounts that were "
            f"seen.")  # fmt: skip


def lost_text(found, what):
    if not found:
        return f"No other detector is better than the model at any listed point by more than the intervals ({what}).\n\n"
    lines = [f"- {NAMES[rival]}, {point}: {theirs.value:.4f} instead of {ours.value:.4f}\n"
             for rival, point, theirs, ours in found]  # fmt: skip
    return f"Better than the model by more than the intervals ({what}):\n\n{''.join(lines)}\n"


def split(measured):
    seen = ("by_seen", "seen")
    columns = [("frozen", path, figure) for path in ((), seen) for figure in RATES.values()]
    header = ["`other_users`", *(f"{group}: {rate}" for group in ("all", "seen") for rate in RATES)]
    text = sizes(measured) + "\n\n" + table(header, rows_of(measured, columns))
    text += by_account(measured)
    text += lost_text(points_lost(measured["frozen"], (), RIVALS), "all")
    text += lost_text(points_lost(measured["frozen"], seen, RIVALS), "seen")
    text += lost_text(points_lost(measured["online"], (), RIVALS), "all, each detector online")
    kinds = list(measured["others"][0]["detectors"]["ipsight"]["seen_by_kind"])
    columns = [("others", ("seen_by_kind", kind), auc) for kind in kinds]
    text += table(["AUC, seen", *(f"`{kind}`" for kind in kinds)], rows_of(measured, columns, online=False))
    for kind in kinds:
        text += lost_text(points_lost(measured["others"], ("seen_by_kind", kind), RIVALS), f"`{kind}`, seen")
    return text + families(measured) + parts(measured)


def by_account(measured):
    """The interval over accounts, where it was measured."""
    found = sorted(measured.get("more", []), key=lambda of_seed: of_seed["auc"])
    if not found:
        return ""
    middle = found[(len(found) - 1) // 2]
    low, high = middle["auc_ci"]
    return (f"ipsight, seen, with an interval over its {middle['num']} accounts (bootstrap): {middle['auc']:.4f} "
            f"({low:.4f} to {high:.4f}).\n\n")  # fmt: skip


def families(measured):
    """The figures of each family, where there are two."""
    by_family = measured["frozen"][0]["detectors"]["ipsight"]["by_family"]
    if not by_family["ipv6"]["num_ordinary"]:
        return ""
    groups = {"all": "by_family", "seen": "seen_by_family"}
    columns = [("frozen", (key, family), auc) for key in groups.values() for family in ("ipv4", "ipv6")]
    header = [f"{group}: {family}" for group in groups for family in ("IPv4", "IPv6")]
    text = table(["AUC, `other_users`", *header], rows_of(measured, columns))
    for family in ("ipv4", "ipv6"):
        text += lost_text(points_lost(measured["frozen"], ("seen_by_family", family), RIVALS), f"{family}, seen")
    return text


def parts(measured):
    """The model by how much an account has done, and how long ago."""
    rows = []
    names = {"by_history": "past events", "by_days": "days since the last"}
    detector = measured["frozen"][0]["detectors"]["ipsight"]
    for key, title in names.items():
        for part, figures in detector[key].items():
            cells = [cell(median(measured[which], "ipsight", (key, part), auc)) for which in ("frozen", "online")]
            num_online = measured["online"][0]["detectors"]["ipsight"][key][part]["num_ordinary"]
            rows.append([f"{title}: {part}", f"{figures['num_ordinary']:,}", cells[0], f"{num_online:,}", cells[1]])
    return table(["ipsight, `other_users`", "events", "AUC", "events, online", "AUC, online"], rows)


def folds(measured):
    found = measured["folds"]
    seen = ("by_seen", "seen")
    rows = []
    for which, names in (("frozen", NAMES), ("online", ONLINE)):
        for name in names:
            label = NAMES[name] + (", online" if which == "online" else "")
            rows.append([label, *(cell(mean_of_folds(found, which, name, seen, figure)) for figure in RATES.values())])
    text = ("A model of all events before each half-year, tested on its accounts that were seen; means over the folds, "
            "weighted by their events.\n\n")  # fmt: skip
    text += table(["`other_users`, seen", *RATES], rows)
    names = ["ipsight", "closed_form", "likelihood_ratio", "subnet_16_table", "subnet_8_table"]
    rows = []
    for fold in found:
        num_seen = fold["frozen"][0]["detectors"]["ipsight"]["by_seen"]["seen"]["num_ordinary"]
        cells = [cell(median(fold["frozen"], name, seen, auc)) for name in names]
        rows.append([fold["start"], f"{fold['num_train']:,}", f"{num_seen:,}", *cells])
    return text + table(["from", "training", "test, seen", *(f"AUC of {NAMES[name]}" for name in names)], rows)


def generated(measured):
    rates = {"AUC": auc, "FPR at TPR .98453": fpr("0.98453"), "FPR at TPR .999": fpr("0.999")}
    text = sizes(measured) + " Each test login has an attack of each kind on the same account.\n\n"
    for kind in measured["frozen"][0]["detectors"]["ipsight"]["by_kind"]:
        columns = [("frozen", ("by_kind", kind), figure) for figure in rates.values()]
        rows = rows_of(measured, columns, digits=5, online=False)
        bayes = [median(measured["frozen"], "bayes", ("by_kind", kind), figure) for figure in rates.values()]
        if bayes[0]:
            rows.append(["the best possible", *(cell(found, 5) for found in bayes)])
        text += table([f"`{kind}`", *rates], rows)
        text += lost_text(points_lost(measured["frozen"], ("by_kind", kind), RIVALS), f"`{kind}`")
    return text


ABLATION = """Heads that lack one part, fitted and tested on the same events as above (`cargo bench --workspace --bench ablation`, which
draws attacks of its own). Each figure is an AUC; below the first row stands the difference from it. The seed alone moves a
figure of tor and irc_ubuntu by about .001 and one of irc_duraspace by about .003.

"""


def ablation(measured):
    columns = {
        "tor": ("other_users, all", "other_users, seen", "neighbour, seen", "uniform, seen"),
        "irc_ubuntu": ("other_users, all", "other_users, seen"),
        "irc_duraspace_folds": ("other_users, seen", "neighbour, seen", "uniform, seen"),
    }
    points = [(name, figure) for name, figures in columns.items() for figure in figures]
    rows = []
    for number, variant in enumerate(measured["sets"]["tor"]):
        found = [measured["sets"][name][number][figure] for name, figure in points]
        whole = [measured["sets"][name][0][figure] for name, figure in points]
        cells = [f"{value - base:+.4f}" if number else f"{value:.4f}" for value, base in zip(found, whole)]
        rows.append([variant["variant"], *cells])
    header = ["variant", *(f"{name}: {figure}" for name, figure in points)]
    return ABLATION + table(header, rows)


WRITERS = {"split": split, "folds": folds, "generated": generated, "ablation": ablation}


def text(found):
    sections = []
    for measured in found:
        written = WRITERS[measured["kind"]](measured)
        num_seeds = measured.get("seeds") or len((measured.get("folds") or [measured])[0]["frozen"])
        sections.append(f"## {TITLES[measured['name']]}\n\n{written}Seeds: {num_seeds}; {measured['version']}.\n")
    return HEAD + "\n" + "\n".join(sections)
