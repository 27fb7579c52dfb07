FROM debian
RUN groupadd --gid 1000 vscode && useradd --uid 1000 --gid vscode --shell /bin/bash --create-home vscode
CMD ["bash"]
