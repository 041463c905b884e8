"""A mail server of aiosmtpd that keeps a file for each recipient in a maildir."""

import asyncio
import os
import ssl
import sys
import uuid

from aiosmtpd.smtp import SMTP, AuthResult

AT, IP, PORT, NAME, USER, PASSWORD, REFUSED, PUT_OFF, SIZE = sys.argv[1:]
BOX = f"{AT}/mail/box"


class House:
    async def handle_RCPT(self, server, session, envelope, address, options):
        guest = address.split("@")[0]
        if guest == "nobody":
            return REFUSED
        if guest == "later" and not os.path.exists(f"{AT}/open"):
            return PUT_OFF
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 welcome"

    async def handle_DATA(self, server, session, envelope):
        number = uuid.uuid4().hex
        how = "ESMTP" + ("S" if session.ssl else "") + ("A" if session.authenticated else "")
        trace = f"Received: from {session.host_name} by {NAME} with {how} id {number}\n".encode()
        for place, recipient in enumerate(envelope.rcpt_tos):
            name = f"{number}.{place}"
            with open(f"{BOX}/tmp/{name}", "wb") as file:
                file.write(f"Envelope-To: {recipient}\n".encode())
                file.write(trace + envelope.content.replace(b"\r\n", b"\n"))
            os.rename(f"{BOX}/tmp/{name}", f"{BOX}/new/{name}")
        return f"250 2.0.0 kept as {number}"


class Door(SMTP):
    def connection_made(self, transport):
        # It is called once more when TLS begins.
        if transport.get_extra_info("sslcontext") is None:
            print("connect from", transport.get_extra_info("peername")[0], flush=True)
        super().connection_made(transport)


def knows(server, session, envelope, mechanism, login):
    good = (login.login, login.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good, handled=False)


async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(f"{AT}/etc/chain.pem", f"{AT}/etc/key.pem")
    for folder in ("tmp", "new", "cur"):
        os.makedirs(f"{BOX}/{folder}", exist_ok=True)
    loop = asyncio.get_running_loop()
    made = lambda: Door(
        House(),
        hostname=NAME,
        tls_context=context,
        authenticator=knows,
        enable_SMTPUTF8=True,
        data_size_limit=int(SIZE),
        loop=loop,
    )
    server = await loop.create_server(made, IP, int(PORT))
    await server.serve_forever()


asyncio.run(main())
