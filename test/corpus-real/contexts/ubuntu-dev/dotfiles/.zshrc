alias greet="echo from dotfiles"
