FROM tools:2 AS first
ONBUILD RUN echo second
FROM first
COPY --from=first /triggered /mine
