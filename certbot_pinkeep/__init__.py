"""
The ``pinkeep`` plugin keeps the pinned key of a certificate through its renewals, and stages backup
keys. For Apache or nginx it writes the ``Public-Key-Pins`` header that lists these keys.


Named Arguments
---------------

========================================  =====================================================
``--pinkeep-keyring``                     The keyring that this certificate draws its key from.
                                          (Default: the keyring that pins any of its names,
                                          else the certificate's name)
``--pinkeep-backup-keys``                 How many backup keys to keep staged, at least 1.
                                          (Default: 2)
``--pinkeep-max-age``                     How long clients hold the pins, in seconds.
                                          (Default: 5184000, which is 60 days)
``--pinkeep-include-subdomains``          Add ``includeSubDomains`` to the header.
``--pinkeep-report-uri``                  Add ``report-uri``; an ``https`` or ``http`` URI on a
                                          host that the keyring does not cover.
``--pinkeep-report-only``                 Publish ``Public-Key-Pins-Report-Only`` instead.
``--pinkeep-rollover-days``               After so many days in service a rollover is due; ``0``: at
                                          every renewal; or ``never``. (Default: 730)
``--pinkeep-header``                      The server that sends the header: ``apache``, ``nginx``,
                                          or ``none``, if pins are for apps or zones only.
                                          (Default: what is installed; both or neither:
                                          ``apache``)
``--pinkeep-snippet-dir``                 The folder of the snippet ``KEYRING.conf``.
                                          (Default: ``CONFIG_DIR/pinkeep/apache``, or
                                          ``CONFIG_DIR/pinkeep/nginx``)
``--pinkeep-configtest-command``          Run before a changed snippet goes live.
                                          (Default: ``apache2ctl configtest``, else
                                          ``apachectl configtest``, else none; for nginx:
                                          ``nginx -t``)
``--pinkeep-reload-command``              Makes a server load the snippet and certificates; given
                                          once for each server; ``""`` if you reload them
                                          yourself. (Default, only if the
                                          server runs: ``systemctl reload``, else ``apache2ctl
                                          graceful`` or ``apachectl graceful``; for nginx:
                                          ``nginx -s reload``)
``--pinkeep-tlsa``                        Ports whose keys are also pinned by TLSA records in the
                                          zone, such as ``25,465,993`` or ``mail.example.com:25``;
                                          ``none`` takes them back. (Default: none)
``--pinkeep-dns-credentials``             The file with the credentials for the zone, in the format
                                          of certbot-dns-rfc2136. (Default: none, pinkeep only
                                          observes the zone)
``--pinkeep-tlsa-ttl``                    The TTL of the records that pinkeep writes, in seconds.
                                          (Default: 3600)
========================================  =====================================================

pinkeep keeps these options for each keyring, and reads them from ``cli.ini`` as well. Options that you
give later take the place of the earlier ones. No option of pinkeep stays in certbot's renewal files. To
take back options without a value, give ``--pinkeep-no-include-subdomains`` or ``--pinkeep-no-report-only``.


Examples
--------

.. code-block:: bash
   :caption: To pin the keys of all your certificates, and stage their backups

   certbot renew --installer pinkeep

.. code-block:: bash
   :caption: To pin one certificate only, whatever installer renews it

   certbot-pinkeep pin example.com

.. code-block:: bash
   :caption: To hold the pins for a week, while you try it

   certbot renew --cert-name example.com --installer pinkeep --pinkeep-max-age 604800

First have the web server include the snippets, once a machine:

.. code-block:: bash

   certbot-pinkeep setup


.. caution::
   A client that has noted the pins refuses every other key until ``max-age`` has run out. Keep a
   backup of ``/etc/letsencrypt``: it holds the backup keys. Begin with a short ``max-age``, or with
   ``--pinkeep-report-only``.

.. caution::
   A certificate that is renewed by another tool, or by a certbot without this plugin, may get a new
   key. Link the command ``certbot-pinkeep`` into ``renewal-hooks/deploy/``, or give ``--deploy-hook
   "certbot-pinkeep deploy-hook"``. The hook then tells you when it happens.
"""

__version__ = "0.2.0.dev0"
