"""The completion scripts of bash, zsh and fish: they hand the line to ``kdlab -sc query=SHELL`` and show its answer."""

_BASH = r"""# Completion of kdlab for bash. In this shell:   eval "$(kdlab completion bash)"
# In every shell: put that line into ~/.bashrc (or save this text in /etc/bash_completion.d/kdlab).
_kdlab_completion() {
    COMPREPLY=()
    local candidate
    while IFS= read -r candidate; do
        COMPREPLY+=("$candidate")
    done < <(COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" KDLAB_WORDBREAKS="$COMP_WORDBREAKS" \
        "${1/#\~/$HOME}" -sc query=bash 2>/dev/null)
}
complete -o nospace -F _kdlab_completion kdlab
"""

_ZSH = r"""#compdef kdlab
# Completion of kdlab for zsh. In this shell:   eval "$(kdlab completion zsh)"
# In every shell: put that line into ~/.zshrc (or save this text as _kdlab in a folder of your fpath).
_kdlab() {
    local line="${(j: :)words[1,CURRENT-1]} $PREFIX"
    local -a answer whole open
    answer=("${(@f)$(COMP_LINE=$line COMP_POINT= ${~words[1]} -sc query=zsh 2>/dev/null)}")
    whole=(${(M)answer:#* })
    open=(${answer:#* })
    (( $#whole )) && compadd -- ${whole% }
    (( $#open )) && compadd -S '' -- $open
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
if [[ $funcstack[1] == _kdlab ]]; then _kdlab "$@"; else compdef _kdlab kdlab; fi
"""

_FISH = r"""# Completion of kdlab for fish. In this shell:   kdlab completion fish | source
# In every shell: kdlab completion fish > ~/.config/fish/completions/kdlab.fish
function __kdlab_completion
    set -l words (commandline -opc)
    set -lx COMP_LINE (commandline -cp | string join \n)
    set -lx COMP_POINT
    set -l command (string replace -r '^~' $HOME -- $words[1])
    $command -sc query=fish 2>/dev/null | string trim --right
end
complete -c kdlab -f -a '(__kdlab_completion)'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
