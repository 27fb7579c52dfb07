FROM debian
RUN apt-get update && apt-get install -y --no-install-recommends nginx-light && rm -rf /var/lib/apt/lists/* \
 && rm /etc/nginx/sites-enabled/default && echo 'server { listen 80; root /usr/share/nginx/html; }' > /etc/nginx/conf.d/default.conf
CMD ["nginx", "-g", "daemon off;"]
