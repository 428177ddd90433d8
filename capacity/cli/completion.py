"""The verb completion: a script by which a shell completes `capacity`."""

from __future__ import annotations

import argparse

from capacity.cli import arguments
from capacity.cli.help import COMPLETION_HELP

# The shells differ in how they give the words and take the candidates; what these are is decided in
# `complete`, once for all. A word that goes on (model. or model.norm=) gets no blank behind it.
SCRIPTS = {
    "bash": r"""_capacity() {
    local IFS=$'\n'
    COMPREPLY=($("$1" complete bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" "$1" \
        2>/dev/null))
    local word
    for word in "${COMPREPLY[@]}"; do
        case $word in *[=/.@,]) compopt -o nospace 2>/dev/null ;; esac
    done
}
complete -F _capacity capacity
""",
    "zsh": r"""#compdef capacity
_capacity() {
    local -a found open
    found=("${(@f)$("${words[1]}" complete zsh "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    found=("${(@)found:#}")
    open=("${(@M)found:#*[=/.@,]}")
    found=("${(@)found:#*[=/.@,]}")
    (( ${#open} )) && compadd -Q -S '' -- "${open[@]}"
    (( ${#found} )) && compadd -Q -- "${found[@]}"
}
if (( $+functions[compdef] )); then
    compdef _capacity capacity
fi
""",
    "fish": r"""function __capacity_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] complete fish $words[2..-1] 2>/dev/null
end
complete -c capacity -f -a '(__capacity_complete)'
""",
}


def add_completion(verb: arguments.Verb) -> None:
    """The arguments of `capacity completion`."""
    sub = verb("completion", _completion, "tab completion for a shell", COMPLETION_HELP)
    sub.add_argument("shell", choices=tuple(SCRIPTS), metavar="SHELL", help=", ".join(SCRIPTS))


def _completion(args: argparse.Namespace) -> int:
    print(SCRIPTS[args.shell], end="")
    return 0
