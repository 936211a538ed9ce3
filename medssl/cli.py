"""`medssl <verb> [preset] key=value ...`: finds the stage, fills its Config, runs it."""

import importlib
import os
import select
import signal
import sys

import typer
from typer.core import TyperGroup

from medssl import __version__, progress
from medssl.errors import UserError, one_line, out_of_memory
from medssl.privacy import error_report
from medssl.training.leaving import hear_early

VERBS = {
    "index": "list what is there, whose it is, how it was acquired, and what is broken and why",
    "convert": "take over a MONAI, BIDS, nnU-Net, nnssl or CSV dataset, or pass a manifest on as one",
    "qc": "look at a cohort before training: outliers, copies, refusals, thumbnails",
    "split": "make folds for cross-validation by patient or by site",
    "prepare": "reorient, resample and normalise scans into a store that crops are read from",
    "reduce": "drop near-duplicate slices and scans, with a report of pictures",
    "pretrain": "pretrain a backbone on scans without labels",
    "probe": "ask whether a pretrained representation is any good",
    "finetune": "train a head on labelled scans: structures, classes, labels, grades, numbers",
    "evaluate": "score a fine-tuned model on held-out patients, with intervals, and report",
    "compare": "set evaluated runs side by side, with paired differences and p-values",
    "study": "say whether pretraining helped, and how many labels it saves",
    "predict": "predict new scans, in their own geometry",
    "embed": "give the features of scans as a table, and show what lies next to what",
    "import": "take over published weights, with an account of every parameter",
    "export": "pass a backbone on to timm, MONAI, nnU-Net, a hub, PyTorch or ONNX, and check it there",
    "backbones": "list the networks and the libraries that take their weights",
    "plan": "say how long a command will take, how much memory and disk, before it is given",
    "scrub": "look for what could tell who a patient is, and clean what is passed on",
    "demo": "run the whole chain on an embedded phantom cohort, in minutes",
    "doctor": "say what is installed, what is missing and the command that mends it",
    "runs": "list runs, tell the best that can be compared, show one",
    "methods": "list the pretraining methods and the networks that each takes",
    "presets": "list the shipped presets and pipelines",
    "copy": "copy a shipped preset or pipeline to edit it",
    "run": "run a pipeline by name or path",
}
WIDEST = 40  # letters of a default in a help text
ACTIONS = {"runs": ("ls", "best", "show")}  # words behind a verb that are taken for one


class Verbs(TyperGroup):
    """The verbs; what is none, and stands behind one, is told with it."""

    def resolve_command(self, context, words: list[str]):
        word = words[0]
        if word not in VERBS and (meant := [f"'medssl {verb} {word}'" for verb in _before(word)]):
            context.fail(f"No such command '{word}'. Did you mean {' or '.join(meant)}?")
        return super().resolve_command(context, words)


def _before(word: str) -> list[str]:
    """The verbs behind which a word may stand: as an action, a preset or a pipeline."""
    from medssl import shipped

    behind = [ACTIONS, shipped.presets(), {"run": shipped.pipelines()}]
    return [verb for each in behind for verb, words in each.items() if word in words]


app = typer.Typer(
    cls=Verbs, add_completion=False, no_args_is_help=True, rich_markup_mode=None,
    pretty_exceptions_enable=False, help="From unlabelled scans to predictions one can trust.",
    epilog="medssl <verb> --help shows every key of a verb.",
)  # fmt: skip


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medssl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """From unlabelled scans to predictions one can trust."""


def _command(verb: str):
    def command(context: typer.Context) -> None:
        words = list(context.args)
        debug = "--debug" in words
        words = [w for w in words if w != "--debug"]
        hear_early()
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # what its parts in C++ remark on
        try:
            execute(verb, words)
            sys.stdout.flush()
        except UserError as error:
            if debug:
                raise
            typer.echo(progress.of_rank() + str(error), err=True)
            raise typer.Exit(error.status) from error
        except OSError as error:
            if isinstance(error, BrokenPipeError) and _nobody_reads():
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what Python flushes at the end
                raise typer.Exit(128 + signal.SIGPIPE) from error
            if debug:
                raise
            where, fix = error.filename or verb, "check the path, its permissions and the disk"
            typer.echo(str(UserError("FILE", where, one_line(error), fix)), err=True)
            raise typer.Exit(2) from error
        except Exception as error:
            if debug:
                raise
            what, place = error_report(error, words)
            if out_of_memory(error):
                fix = "lower the size of what is read at once, or workers; `medssl plan` says what it takes"
                typer.echo(str(UserError("MEMORY", f"medssl {verb}", what, fix)), err=True)
                raise typer.Exit(2) from error
            fix = (
                "run it again with --debug: if the fault is not in a module of your own, report it"
                + (f" ({place})" if place else "")
            )
            typer.echo(str(UserError("INTERNAL", f"medssl {verb}", what, fix)), err=True)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            if not error.args:  # otherwise it was told how far the run is
                typer.echo(
                    "interrupted: what was not finished is done by the same command", err=True
                )
            raise typer.Exit(130) from error

    return command


def _nobody_reads() -> bool:
    """Whether what reads our output, such as `head`, has read enough and gone."""
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, select.POLLERR)
    return any(event & select.POLLERR for _, event in poll.poll(0))


for _verb, _summary in VERBS.items():
    app.command(
        _verb, help=_summary, short_help=_summary, add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(_command(_verb))  # fmt: skip


def execute(verb: str, words: list[str]) -> None:
    """Run one verb with the words behind it. Raises UserError for anything the user can mend."""
    from medssl.stages import asked, start

    if "--help" in words or "-h" in words:
        typer.echo(help_text(verb, [w for w in words if not w.startswith("-")]))
        return
    result = start(verb, asked(verb, words))
    if result is not None and not progress.of_rank():
        typer.echo(result)


def help_text(verb: str, words: list[str]) -> str:
    """What a verb does, its presets, every key with type, default and meaning, and examples."""
    from medssl import command_line, config, shipped
    from medssl.describe import describe

    stage = importlib.import_module(f"medssl.stages.{verb}")
    known = shipped.presets().get(verb, [])
    preset, values = command_line.parse(stage.Config, verb, words)
    usage = [f"medssl {verb}", "[preset]" if known else ""]
    for name in stage.Config.positional:
        field = stage.Config.model_fields[name]
        word = name.upper() + (" ..." if command_line.takes_many(stage.Config, name) else "")
        usage.append(word if field.is_required() else f"[{word}]")
    about, rows = stage.__doc__, describe(stage.Config, values=values)
    examples = stage.Config.examples
    if hasattr(stage, "details") and (details := stage.details(values)):
        (about, rows), examples = details, ()
    lines = [" ".join(filter(None, [*usage, "key=value ..."])), "", (about or "").strip(), ""]
    if known:
        lines += [f"Presets: {', '.join(known)}", ""]
    shown = {}
    for name, table in getattr(stage, "TABLES", {}).items():
        chosen = {name: stage.Config.model_fields[name].default.model_dump()}
        chosen = config.merge(chosen, {k: v for k, v in values.items() if k == name})
        part = config.Part.model_validate(chosen[name])
        shown[name] = part.name
        options = config.options_model(part.target(table, name))
        rows += describe(options, f"{name}.", part.options)
    rows = [(key, kind, _cut(default), meaning) for key, kind, default, meaning in rows]
    wide = [max(len(row[i]) for row in rows) for i in range(3)]
    given = " ".join(filter(None, [preset, *(w for w in words if "=" in w)]))
    lines += [f"Keys (type, default{f' with {given}' if given else ''}, meaning):"]
    lines += [
        "  " + "  ".join([*(row[i].ljust(wide[i]) for i in range(3)), row[3]]) for row in rows
    ]
    if shown:
        named = ", ".join(f"{name}.* are those of {chosen}" for name, chosen in shown.items())
        how = f"give a preset, or {next(iter(shown))}=NAME, before --help for others."
        lines += ["", f"Keys {named}: {how}"]
    if examples:
        lines += ["", "Examples:", *(f"  {e}" for e in examples)]
    return "\n".join(lines)


def _cut(default: str) -> str:
    """Arms and trials of a preset of `study` are long; `medssl copy` shows them whole."""
    return default if len(default) <= WIDEST else f"{default[: WIDEST - 3]}..."


def main() -> None:
    app(prog_name="medssl", standalone_mode=True)


if __name__ == "__main__":
    sys.exit(main())
