FROM scratch
LABEL nothing=here
