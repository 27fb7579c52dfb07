<?php echo "php ", PHP_MAJOR_VERSION, " as ", posix_getuid() > 0 ? "somebody" : "root", "\n";
