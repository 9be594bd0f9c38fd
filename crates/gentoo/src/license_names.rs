//! Which licences are free and which others let a binary be passed on, in the names Gentoo has for them (GLEP 23), for where no tree
//! says it. A test compares them with a real tree.

/// `@FREE`: free software and free documents.
pub(crate) const FREE: &str = "\
    0BSD AFL-2.1 AFL-3.0 AGPL-3 AGPL-3+ AIFFWriter.m Allegro alternate AMPAS Apache-1.0 Apache-1.1 Apache-2.0 \
    Apache-2.0-with-LLVM-exceptions APL-1.0 APSL-2 Arphic Artistic Artistic-2 BAEKMUK Base64 BEER-WARE BitstreamVera \
    BlueOak-1.0.0 boehm-gc Boost-1.0 BSD BSD-1 BSD-2 BSD-2-with-patent BSD-4 BSD-with-attribution BSD-with-disclosure buddy \
    bufexplorer.vim BZIP2 CAOSL CC-BY-1.0 CC-BY-2.0 CC-BY-2.5 CC-BY-3.0 CC-BY-4.0 CC-BY-SA-1.0 CC-BY-SA-2.0 CC-BY-SA-2.5 \
    CC-BY-SA-3.0 CC-BY-SA-4.0 CC-PD CC-SA-1.0 CC0-1.0 CDDL CDDL-1.1 CDDL-Schily CDLA-Permissive-2.0 CeCILL-2 CeCILL-B \
    CeCILL-C Clarified-Artistic Clear-BSD CNRI coldspringharbor CPAL-1.0 CPL-0.5 CPL-1.0 Crypt-IDEA curl DES docbook dom4j \
    DUMB-0.9.3 ECL-2.0 ElementTree Emacs EPL-1.0 EPL-2.0 ErlPL-1.1 EUPL-1.1 EUPL-1.2 FastCGI FDL-1.1 FDL-1.1+ FDL-1.2 \
    FDL-1.2+ FDL-1.3 FDL-1.3+ feh FFT2D File-MMagic Flashpix FLEX flexmock FLTK FraunhoferFDK Free-Art-1.2 Free-Art-1.3 \
    freetts FSFAP FSFUL FTL FVWM gcc-runtime-library-exception-3.1 gd gnuplot GPL-1 GPL-1+ GPL-2 GPL-2+ \
    GPL-2+-with-eCos-exception-2 GPL-2+-with-font-exception GPL-2+-with-openssl-exception \
    GPL-2+-with-Pyinstaller-Bootloader-exception GPL-2-with-classpath-exception GPL-2-with-font-exception \
    GPL-2-with-linking-exception GPL-2-with-MySQL-FLOSS-exception GPL-3 GPL-3+ GPL-3+-with-autoconf-exception \
    GPL-3+-with-font-exception GPL-3+-with-openssl-exception GPL-3-with-font-exception GPL-3-with-openssl-exception gsm HPND \
    HTML-Tidy iASL IBM icu IDPL IJG imagemagick Info-ZIP inner-net ipadic IPAfont ISC Ispell JasPer2.0 JDOM JOVE \
    Khronos-CLHPP LambdaMOO LBNLBSD LDP-1 LDP-1a LGPL-2 LGPL-2+ LGPL-2-with-linking-exception LGPL-2.1 LGPL-2.1+ \
    LGPL-2.1-with-linking-exception LGPL-3 LGPL-3+ LGPL-3-with-linking-exception libgcc LIBGLOSS libmng libpng libpng2 \
    libstdc++ libtiff LLGPL-2.1 LPL-1.02 LPPL-1.0 LPPL-1.1 LPPL-1.2 LPPL-1.3 LPPL-1.3a LPPL-1.3b LPPL-1.3c lsof man-pages \
    man-pages-posix-2013 matplotlib MaxMind2 metapackage Mini-XML minpack MirOS MIT MIT-0 MIT-with-advertising mm mpich2 \
    MPL-1.0 MPL-1.1 MPL-2.0 mplus-fonts Ms-PL Ms-RL myspell-en_CA-KevinAtkinson NCSA-HDF netcat nethack NEWLIB ngrep \
    Nokia-Qt-LGPL-Exception-1.1 NOLIMIT NPL-1.1 NPSL-0.95 OFL-1.0 OFL-1.1 Old-MIT openafs-krb5-a OPENLDAP openssl Openwall \
    OPL OSL-1.1 OSL-2.0 OSL-2.1 otter par PCRE perforce photopc PHP-2.02 PHP-3 PHP-3.01 pngcrush pngnq POSTGRESQL Princeton \
    PSF-2 PSF-2.4 psutils public-domain PYTHON QPL-1.0 quake1-textures qwt rc regexp-UofT repoze RSA RtMidi Ruby Ruby-BSD \
    rwpng sash scanlogd sdlsasteroids Sendmail Sendmail-Open-Source SGI-B-2.0 Sleepycat SMAIL Snd Spencer-99 SSLeay SunSoft \
    symlinks Sympow-BSD tanuki-community tcltk tcp_wrappers_license TeX TeX-other-free Texinfo-manual TextMate-bundle \
    the-Click-license Time-Format Time-modules tm-align torque-2.5 Toyoda Transmission-OpenSSL-exception trio \
    UbuntuFontLicense-1.0 UCAR-Unidata unicode Unicode-3.0 Unicode-DFS-2015 Unicode-DFS-2016 Unlicense UoI-NCSA UPL-1.0 \
    UPX-exception vim vlgothic VTK W3C w3m wm2 WTFPL-2 wxWinFDL-3 wxWinLL-3 wxWinLL-3.1 xbatt xboing XC Xdebug xtrs Zend-2.0 \
    ZLIB ZPL ZSH";

/// What `@BINARY-REDISTRIBUTABLE` has besides `@FREE`.
pub(crate) const OTHER_REDISTRIBUTABLE: &str = "\
    Atmel AVASYS bh-luxi bonnie Broadcom freedist intel-ucode ipw2100-fw ipw2200-fw ISSL JSON linux-fw-redistributable \
    LSI-tw_cli Mellanox-AS-IS MicroChip-SDCC no-source-code NOSA NVIDIA-2023 NVIDIA-2025 NVIDIA-r1 NVIDIA-r2 \
    qlogic-fibre-channel-firmware shmux unRAR";
