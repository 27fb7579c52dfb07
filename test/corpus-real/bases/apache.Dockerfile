FROM debian
RUN apt-get update && apt-get install -y --no-install-recommends apache2 libapache2-mod-php && rm -rf /var/lib/apt/lists/*
ENV APACHE_CONFDIR=/etc/apache2
WORKDIR /var/www/html
CMD ["apachectl", "-DFOREGROUND"]
