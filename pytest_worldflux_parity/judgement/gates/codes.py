"""Every code that a finding can have: what it says, and what to do about it.

A test reads the codes off the package's syntax trees: each stands here, and nothing else does. What finds
each one, and how commands end then, stands in ``reports/README.md``, whose table is made from both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """What a code says, and what to do about it: sentences in markdown."""

    says: str
    to_do: str


_MAP = "Mend the mapping of parameters that the match program writes."
_PLANT = "Mend the perturbations of the match program."
_WORD = "Write a word that is known, or mend what ran."
_ALIKE = "Run both sides alike."
_RUN_ALIKE = f"{_ALIKE[:-1]}, and have both state it."
_STORED = "Restore the file from a copy, or begin a new run."
_LOCKED = "Check out what the lock names, or have the lock changed by who may."
_TABLE = "Bring back the table that the lock pins, or have its new sha256 pinned by who may."
_JOIN = "Make the aggregate again from the documents that are meant."
_WRITE_ANEW = "Have `pytest --parity` write the documents again from the records, and edit none."


def _state(key: str, value: str) -> str:
    """What a program in Python writes, where its record does not say something."""
    return f'Have the program write it: `log.metadata["{key}"] = {value}`.'


# A word that is not true of what ran is a lie, and no help.
_LIVE = _state("mode", '"live"')[:-1] + ", where that is so."
_TRAINED = _state("policy_mode", '"trained"')[:-1] + ", where that is so."
_IN_FORCE = "It is what took effect, and not what was asked."
_PROFILE = _state("model_profile", "PROFILE")
_PROTOCOL_HASH = "wire.eval_protocol_hash(request.family, request.task_id, request.eval_protocol)"

CODES: Mapping[str, Code] = {
    # The two programs compute the same numbers.
    "component_mismatch": Code(
        "A component gives other numbers than the official one.",
        "Mend the component that is named first: later ones may only follow it.",
    ),
    "components_not_compared": Code(
        "The suite requires components, and none were compared.",
        "Have the worldflux side be a live backend whose `backend.yaml` names a `match:`.",
    ),
    "components_partial": Code(
        "The suite requires components, and declares a part of them.",
        "Leave `components` out; without `component_match` a quick suite shows a part.",
    ),
    "match_failed": Code(
        "The match program left nothing to compare.",
        "Read its log below `component_match/`; `worldflux-parity component-match BACKEND` tries it alone.",
    ),
    "output_not_sensitive": Code(
        "No planted mistake moved an output beyond its tolerance.",
        "Plant one that does, or have the golden declare why none can.",
    ),
    "output_unexpected": Code(
        "The match program gave an output that nobody asked for.",
        "Name outputs as the golden does.",
    ),
    "parameter_mapped_twice": Code("One of ours stands for several official parameters.", _MAP),
    "parameter_not_covered": Code("A parameter of ours stands for no official one.", _MAP),
    "parameter_size_mismatch": Code("A parameter is not of the official one's size.", _MAP),
    "parameter_unknown": Code("The mapping names a parameter that is not there.", _MAP),
    "parameter_unmapped": Code("An official parameter is mapped to none of ours.", _MAP),
    "perturbation_missing": Code("A component has no planted mistake.", _PLANT),
    "perturbation_not_caught": Code("The comparison does not see a planted mistake.", _PLANT),
    "perturbation_repeated": Code("Two planted mistakes have one name.", _PLANT),
    # Everything that the suite expects is there.
    "failed": Code(
        "No attempt at a run succeeded.",
        "Read the attempt's log, mend the program, and go on with `--parity-resume`.",
    ),
    "metric_absent": Code(
        "A record has no such metric.",
        "Have the program record it: `log.scalars[NAME] = value`; or judge another metric.",
    ),
    "no_point_at_budget": Code(
        "A curve has no point at the budget.",
        "Train up to the budget, and record a point there: `log.score(step, value)`.",
    ),
    "null_score": Code(
        "A score is null where it is judged: at the budget, in the window, or up to the tolerance.",
        "Bring the score, or judge at a budget that has one.",
    ),
    "points_missing": Code(
        "A curve lacks points that the suite asks for: an evaluation, the first episodes, or those in a gap.",
        "Have the program report them, `log.score(step, value)`; `points` and `bins` say which.",
    ),
    "not_in_table": Code(
        "A table has no row of a task and seed.",
        "Complete the table, or ask the suite for the seeds that it has.",
    ),
    "nothing_expected": Code(
        "The suite and its tables name no task and seed at all.",
        "Name seeds, or tables that have some.",
    ),
    "task_missing": Code(
        "Neither table has a seed of a task.",
        "Complete the tables, or leave the task out of the suite.",
    ),
    # The records are what the suite asked for, and both sides did the same thing.
    "adapter_id_mismatch": Code(
        "A record states another adapter than the suite names.",
        _state("adapter_id", "request.adapter"),
    ),
    "attempt_without_line": Code(
        "An attempt left a record, or later ones are there, and the log has no line of it.",
        "Restore the line from a copy; a line that was taken away hides an attempt.",
    ),
    "backend_kind_mismatch": Code(
        "A record states another kind of backend.",
        _state("backend_kind", "KIND")[:-1] + ", as `kind:` of its `backend.yaml`.",
    ),
    "budget_not_reached": Code(
        "Training ended before the budget.",
        "Train for as long as the suite says, and record a point there: `log.score(step, value)`.",
    ),
    "canonical_profile_missing": Code("A record names no model profile, and the suite wants one.", _PROFILE),
    "changed_since_sealed": Code(
        "A file that decides what ran changed after the first run.",
        "Begin a new run; what has run is of the files as they were.",
    ),
    "conflicting_success": Code(
        "Two successes answer one request with other curves.",
        "Make the program deterministic, or begin a new run: the first success counts.",
    ),
    "env_backend_forbidden": Code("A record says that its environment is none.", _WORD),
    "environment_backend_mismatch": Code(
        "The sides, or the suite, name other environments.", f"{_ALIKE} {_state('env_backend', 'WORD')}"
    ),
    "environment_altered": Code(
        "Of a claim: installed files are not what was installed.",
        "Build the environment anew: `worldflux-parity env create BACKEND`, or install the packages again.",
    ),
    "environment_not_as_pinned": Code(
        "Of a claim: a program ran with other packages than its `backend.yaml` pins.",
        "Install what is pinned, or pin what is meant.",
    ),
    "eval_protocol_hash_mismatch": Code(
        "A record was measured by another protocol.", _state("eval_protocol_hash", _PROTOCOL_HASH)
    ),
    "eval_protocol_mismatch": Code(
        "The sides, or the suite, name other protocols.",
        f"{_ALIKE} {_state('eval_protocol', 'dict(request.eval_protocol)')}",
    ),
    "fixture_forbidden": Code(
        "A record says that its numbers are made up.",
        "Run the program; a release is rehearsed with tables.",
    ),
    "forbidden_shortcut_detected": Code(
        "A record says what the suite forbids.", "Run without the shortcut that is named."
    ),
    "foreign_record": Code("A line is of another run than it is used for.", _STORED),
    "live_match_failed": Code(
        "Components could not be compared from a checkpoint of the run.",
        "Read the recorder's log; `component_match: golden` asks for no recorder.",
    ),
    "lock_mismatch": Code("The official program or table is not of the commit that the lock names.", _LOCKED),
    "missing_artifact": Code(
        "A file that the suite requires was not left.",
        _state("artifact_manifest", '{KIND: [{"path": FILE}]}'),
    ),
    "missing_artifact_manifest": Code(
        "A line that no run of this plugin made lists no files.",
        _state("artifact_manifest", 'wire.hash_files([log.out_dir / "metrics.jsonl"])'),
    ),
    "missing_env_backend": Code(
        "A record says nothing of its environment.", _state("env_backend", '"gymnasium"')
    ),
    "missing_eval_protocol_hash": Code(
        "A line that no run of this plugin made has no hash of its protocol.",
        _state("eval_protocol_hash", _PROTOCOL_HASH),
    ),
    "missing_mode": Code("A record does not say whether it ran for real.", _LIVE),
    "missing_policy_mode": Code("A record does not say what chose its actions.", _TRAINED),
    "missing_recipe_hash": Code(
        "A line that no run of this plugin made has no hash of its recipe.",
        _state("recipe_hash", 'wire.content_hash(log.metadata["effective_recipe"])'),
    ),
    "missing_recipe_metadata": Code(
        "A record says nothing of the recipe that it used.",
        f"{_state('effective_recipe', 'recipe')} {_IN_FORCE}",
    ),
    "missing_source_provenance": Code(
        "A record states as its source what is none.",
        _state("source", '{"tree_sha256": wire.tree_sha256(FOLDER)}'),
    ),
    "log_broken": Code(
        "Lines of the log or of its sessions were changed, taken away or put in.",
        "Restore the folder of the suite from a copy, or begin a new run.",
    ),
    "log_unchained": Code(
        "Of a claim: lines of the log are of a version that did not chain them.", "Begin a new run."
    ),
    "mock_mode_forbidden": Code("A record says that nothing ran for real.", _WORD),
    "model_id_mismatch": Code("The sides state other models.", f"{_ALIKE} {_state('model_id', 'NAME')}"),
    "model_profile_mismatch": Code(
        "The sides, or the suite, name other model profiles.", f"{_ALIKE} {_PROFILE}"
    ),
    "official_change_not_admitted": Code(
        "The official program was changed, and the suite does not admit that change.",
        "Undo it, or name its sha256 in the suite, where a reader sees it.",
    ),
    "policy_impl_mismatch": Code(
        "The sides state other policies.", f"{_ALIKE} {_state('policy_impl', 'NAME')}"
    ),
    "policy_mode_mismatch": Code(
        "A record's actions were chosen otherwise than the suite says.",
        _state("policy_mode", "WORD"),
    ),
    "random_policy_forbidden": Code("A record says that its actions were not the trained policy's.", _WORD),
    "recipe_key_unknown": Code(
        "The suite maps a key of the recipe that neither side states.",
        "Mend its name in `recipe_map`: the nearest key stands beside it.",
    ),
    "recipe_not_compared": Code(
        "Of a proof: not one key of the recipe is compared.",
        "Have both programs state keys that mean the same, and map or keep them: `recipe_map`.",
    ),
    "recipe_mismatch": Code(
        "The sides, or the suite, used other recipes.",
        f"{_ALIKE} {_state('effective_recipe', 'recipe')} {_IN_FORCE} "
        "What one side has under another name, or alone, the suite names: `recipe_map`, `recipe_ignore`.",
    ),
    "record_differs_from_artifact": Code("A line is not what its `metrics.json` says.", _STORED),
    "record_rewritten": Code(
        "The log no longer holds a line as the session that wrote it knows it.",
        "Find out which program did it, and run again with `--parity-isolate=require`.",
    ),
    "record_without_artifact": Code("The `metrics.json` of a line is not there.", _STORED),
    "reuse_not_shown": Code(
        "A result of an earlier run does not follow from what was kept of that run.",
        "Restore the folder of the suite from a copy, or begin a new run without `--parity-reuse`.",
    ),
    "source_commit_mismatch": Code("The official program that ran is not of the locked commit.", _LOCKED),
    "source_tree_dirty": Code(
        "A program ran from a tree that differs from its commit.", "Commit the changes, and run again."
    ),
    "source_trees_differ": Code(
        "The records of one side state several source trees, or some state none.",
        "Begin a new run, of one tree: what ran with another is another program.",
    ),
    "steps_apart": Code("Of a claim or a manifest: one side trained longer than the other.", _RUN_ALIKE),
    "table_not_as_pinned": Code("The official table is not the one that the lock pins.", _TABLE),
    "unknown_env_backend": Code(
        "Of a claim: a record names an environment that nobody knows.",
        "Name it in the suite: `validity: {environment_backend: ...}`.",
    ),
    "unknown_family": Code(
        "Of a claim: nobody knows canonical profiles of the family.",
        "Write `claim: none`, or judge a family that has them.",
    ),
    "unknown_mode": Code("A record's `mode` is no word that is known.", _LIVE),
    "unknown_policy_mode": Code("A record's `policy_mode` is no word that is known.", _TRAINED),
    "unreadable_record": Code("A line of the log, or its record, cannot be read.", _STORED),
    # Two programs, and not one twice.
    "identical_scores": Code(
        "The scores of one side stand in the other, in whatever order, rounded or with a little noise.",
        "Bring scores that the other program made itself.",
    ),
    "not_one_program": Code(
        "The suite compares one program with itself or its versions, and the sides are two programs.",
        "Name backends of one program, or leave `comparison` out.",
    ),
    "program_not_shown": Code(
        "Of a proof: nothing shows which program a side is, or which code of its checkout.",
        "Name its files in its `backend.yaml` (`program:`), and leave no code of a checkout out by `ignore`.",
    ),
    "repeated_run": Code(
        "A seed's record is that of another seed to nine digits, so both are one run.",
        "Have the program heed its seed; of a table, name seeds that are runs of their own.",
    ),
    "same_program": Code(
        "Both sides are one program: by the files that they name or run from, or by what their tables say.",
        "Name another program or table for one side; `comparison: self` asks for one on purpose.",
    ),
    "same_score_file": Code("Both sides are one file.", "Name another table for one of the sides."),
    "same_source_tree": Code("Both sides ran one source tree.", "Name another backend for one of the sides."),
    "scores_follow": Code(
        "The scores of one side follow the other's, seed by seed, at whatever level and scale.",
        "Bring scores that the other program made itself.",
    ),
    # What a policy does not admit; a release has to name it, or to run again.
    "component_match_missing": Code(
        "Components of a program that ran were not compared, or a part of them.",
        "Give its backend a `match:`, or admit it by this name.",
    ),
    "failed_attempts": Code(
        "More attempts of a side failed than one and 2 % of them.",
        'Look why; `{"failed_attempts": 0.1}` admits another share of them.',
    ),
    "frames_apart": Code(
        "Two tables end at steps that are far apart.", "Name a budget in the suite, or tables that end alike."
    ),
    "lost_lines": Code("Lines of the log are torn or unreadable.", "Run again, or admit it by this name."),
    "margin_too_wide": Code("A margin is wider than the policy's largest.", "Narrow it in the suite."),
    "no_isolation": Code(
        "Nothing kept programs that count in their folders.",
        "Run with `--parity-isolate=require`, or admit it by this name; the card says it.",
    ),
    "not_independent": Code(
        "The suite compares one program on purpose, which shows nothing of a candidate.",
        "Require a suite of two programs; no policy admits this one.",
    ),
    "no_project_commit": Code(
        "Of a claim: the run is of no commit of the project.",
        "Run in a git checkout, or admit it by this name.",
    ),
    "results_reused": Code(
        "Of a claim or a release: results of earlier runs count.",
        "Run again without `--parity-reuse`; no policy admits it, since a claim counts its looks.",
    ),
    "not_in_policy": Code(
        "The policy names no such suite, or one of another track.", "Add the suite's file to the policy."
    ),
    "oracle_commit_unknown": Code(
        "The official side is of no commit that is known.",
        "Name its commit in the suite or the table, or admit it by this name.",
    ),
    "overrides": Code(
        "The command line chose seeds, tables or a lock other than the suite's and the project's.",
        "Run without these options, or admit it by this name.",
    ),
    "project_changed": Code(
        "Of a claim: the project had changes beside its commit.",
        "Commit them and run again, or admit it by this name.",
    ),
    "recipe_ignored": Code(
        "The suite leaves keys of the recipe out of the comparison.",
        "Compare them, or admit it by this name, once you believe each reason.",
    ),
    "recipe_mapped": Code(
        "The suite compares keys of the recipe under two names.",
        "Read the map, and admit it by this name.",
    ),
    "repeated_attempts": Code(
        "Of a claim: runs were repeated after they had succeeded.",
        "Begin a new run, or admit it by this name.",
    ),
    "resumed": Code("Of a claim: the run was resumed.", "Run it at once, or admit it by this name."),
    "table_not_pinned": Code(
        "The lock does not pin the official table that was judged.",
        "Add its sha256 to `oracle_files` of the lock.",
    ),
    "table_without_runs": Code(
        "The candidate's table does not name the runs that it is of.",
        "Make it with `pytest --parity=campaign`, or admit `candidate_table`.",
    ),
    "too_few_seeds": Code("A task has fewer seeds than the policy's least.", "Run more seeds."),
    "too_old": Code("The run is older than the policy's largest age, or of no time.", "Run again."),
    "warnings": Code(
        "Of a claim: the verdict has warnings.", "Do what each one says, or admit it by this name."
    ),
    # What was asked is not what is expected; or nobody can tell.
    "cannot_be_expected": Code(
        "The records cannot be judged under what is expected.",
        "Bring what is absent: the line names it.",
    ),
    "not_as_expected": Code(
        "The run was asked for something else than is expected.", "Run again with the suite as it is here."
    ),
    "not_passed": Code(
        "The verdict under what is expected is no pass.", "Read the reason: it names the gate or the metric."
    ),
    "other_head": Code(
        "The log is not the one that `--head` names.",
        "Get the bundle of that log.",
    ),
    "other_commit": Code("What ran is not the commit that `--commit` names.", "Run again at that commit."),
    "program_differs": Code(
        "A file of a program is another one than that which ran.",
        "Run again with the files as they are here.",
    ),
    "unknown_suite": Code(
        "There is no suite file of this id or name, or of this id on this track.",
        "Add the file, or name it as the policy does.",
    ),
    "unknown_signer": Code(
        "A key that the policy does not name signed the evidence.",
        "Have one of its signers sign, or have the key added by who may.",
    ),
    # What stands behind a document.
    "does_not_follow": Code("A document in the bundle is not what its records give.", _WRITE_ANEW),
    "evidence_differs": Code(
        "A document, the session, the circumstances or the log beside the bundle is not the one in it.",
        "Take it out of the bundle, or have the run judged again: `--parity-resume`.",
    ),
    "evidence_missing": Code(
        "Neither evidence nor records are beside a document, and the policy wants some.",
        "Bring `evidence_bundle.zip`, or have the policy say `evidence: documents`.",
    ),
    "evidence_tampered": Code(
        "The bundle is not the one that was built.", "Get it again from who built it; trust no part of it."
    ),
    "evidence_unreadable": Code(
        "The bundle, or the key, cannot be read.", "Get it again; the line says what is wrong with it."
    ),
    "records_unreadable": Code(
        "The records beside a document cannot be read.", "Bring the whole run directory, or its bundle."
    ),
    "table_missing": Code(
        "A table of a suite that a release needs is not here, so that no number of it can be judged.",
        "Bring it: the line names the command.",
    ),
    "unsigned": Code(
        "Nobody who is known vouches for evidence that travels alone.",
        "Sign it with `--parity-sign-key`, and name the key by `--key` or as a signer of the policy.",
    ),
    # Documents that say what nothing gives, or two things.
    "aggregate_differs": Code("The aggregate is not that of its documents.", _JOIN),
    "dangling_path": Code("The aggregate names a file that is not there.", _JOIN),
    "document_differs": Code("A document is not what is made anew.", _WRITE_ANEW),
    "family_differs": Code("A suite is of another family than the policy says.", "Mend the policy."),
    "fixture": Code(
        "A document is of made-up numbers.", "Judge real ones; a rehearsal adds `--allow-fixtures`."
    ),
    "fixture_unmarked": Code("The aggregate does not say that a document of it is made up.", _JOIN),
    "missing_pairs": Code(
        "More results are missing than `--max-missing-pairs` allows.",
        "Run them: `missing_pairs.yaml` is a suite of exactly these.",
    ),
    "not_in_aggregate": Code("A suite of the policy has no row.", "Run it, and aggregate its document too."),
    "not_in_lock": Code("The lock has no entry of a suite.", "Have the suite locked by who may."),
    "not_judged": Code("A suite was collected and has no verdict.", "Mend what the reason says, and run it."),
    "nothing_required": Code(
        "The policy requires no suite, so there is nothing to enforce.", "Give a suite the stage `required`."
    ),
    "required_suite_missing": Code(
        "A suite that the command line or the policy requires is not there.",
        "Run it, and name its document.",
    ),
    "suite_twice": Code("Two documents, or rows, are of one suite.", "Name one; `--newest` chooses."),
    "unstable": Code(
        "The verdict or an effect of a proof flips between runs.", "Find out why before you release."
    ),
    "verdict_differs": Code("A document says pass, and a verdict that is none, or the reverse.", _WRITE_ANEW),
}
