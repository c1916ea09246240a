//go:build !ttrpc1.1

package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/ttrpc"
	"github.com/containerd/ttrpc/integration/streaming"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// casesOfVersion are the cases of ttrpc 1.2.
var casesOfVersion = map[string]func(*peer) error{
	"error-with-details":     callFail,
	"deadline-negative":      callDeadlineNegative,
	"request-limit":          callRequestLimit,
	"reply-over-own-limit":   callReplyOverOwnLimit,
	"until-killed":           callUntilKilled,
	"until-server-shuts":     callUntilServerShuts,
	"until-server-closes":    callUntilServerCloses,
	"server-shuts-when-idle": callServerShutsWhenIdle,

	"count":                 callCount,
	"sum":                   callSum,
	"chat":                  callChat,
	"chat-with-request":     callChatWithRequest,
	"chat-limit":            callChatLimit,
	"stream-fails":          callStreamFails,
	"stream-cancel":         callStreamCancel,
	"stream-unknown":        callStreamUnknown,
	"streams-concurrent":    callStreamsConcurrent,
	"stream-while-draining": callStreamWhileDraining,
	"stream-until-killed":   callStreamUntilKilled,

	"streaming-echo":                 streamingEcho,
	"streaming-echo-stream":          streamingEchoStream,
	"streaming-sum-stream":           streamingSumStream,
	"streaming-divide-stream":        streamingDivideStream,
	"streaming-echo-null":            streamingEchoNull,
	"streaming-echo-null-stream":     streamingEchoNullStream,
	"streaming-empty-payload-stream": streamingEmptyPayloadStream,
}

func (p *peer) streaming() streaming.TTRPCStreamingClient {
	return streaming.NewTTRPCStreamingClient(p.client)
}

func (p *peer) stream(
	ctx context.Context, method string, client, server bool, request any,
) (ttrpc.ClientStream, error) {
	description := &ttrpc.StreamDesc{StreamingClient: client, StreamingServer: server}
	return p.client.NewStream(ctx, description, testService, method, request)
}

func (p *peer) chat(ctx context.Context) (*chat, error) {
	stream, err := p.stream(ctx, "Chat", true, true, nil)
	return &chat{p, stream}, err
}

type chat struct {
	*peer
	ttrpc.ClientStream
}

func (c *chat) send(text string) error {
	return c.SendMsg(c.test("EchoRequest").set("text", text))
}

func (c *chat) receive() (message, error) {
	reply := c.test("EchoResponse")
	return reply, c.RecvMsg(reply)
}

// say sends a text, and expects it back.
func (c *chat) say(text string) error {
	if err := c.send(text); err != nil {
		return err
	}
	reply, err := c.receive()
	if err != nil {
		return err
	}
	return equal("text", reply.text("text"), text)
}

func (c *chat) hangUp() error {
	if err := c.CloseSend(); err != nil {
		return err
	}
	_, err := c.receive()
	return ended(err)
}

func ended(err error) error {
	if err != io.EOF {
		return fmt.Errorf("expected the end of the stream, got %v", err)
	}
	return nil
}

func callCount(p *peer) error {
	for _, count := range []uint32{0, 1, 10_000} {
		request := p.test("CountRequest").set("count", count)
		stream, err := p.stream(background, "Count", false, true, request)
		if err != nil {
			return err
		}
		var next int64
		err = each(func() (message, error) {
			response := p.test("CountResponse")
			return response, stream.RecvMsg(response)
		}, func(response message) error {
			next++
			return equal("value", response.int("value"), next-1)
		})
		if err := errors.Join(err, equal("the number of messages", next, int64(count))); err != nil {
			return err
		}
	}
	return p.alive()
}

func callSum(p *peer) error {
	for _, count := range []int64{0, 1, 10_000} {
		stream, err := p.stream(background, "Sum", true, false, nil)
		if err != nil {
			return err
		}
		var expected int64
		for i := int64(0); i < count; i++ {
			expected += i
			if err := stream.SendMsg(p.test("CountResponse").set("value", i)); err != nil {
				return err
			}
		}
		if err := stream.CloseSend(); err != nil {
			return err
		}
		sum := p.test("CountResponse")
		if err := stream.RecvMsg(sum); err != nil {
			return err
		}
		if err := equal("the sum", sum.int("value"), expected); err != nil {
			return err
		}
	}
	return p.alive()
}

func callChat(p *peer) error {
	chat, err := p.chat(background)
	if err != nil {
		return err
	}
	for i := 0; i < 100; i++ {
		if err := chat.say(fmt.Sprint("line ", i)); err != nil {
			return err
		}
	}
	if err := chat.say(""); err != nil { // an empty message is one
		return err
	}
	return errors.Join(chat.hangUp(), p.alive())
}

// A message in the Request of such a call is the first of the stream.
func callChatWithRequest(p *peer) error {
	stream, err := p.stream(background, "Chat", true, true, p.test("EchoRequest").set("text", "first"))
	if err != nil {
		return err
	}
	chat := &chat{p, stream}
	reply, err := chat.receive()
	if err != nil {
		return err
	}
	return errors.Join(equal("text", reply.text("text"), "first"), chat.say("second"), chat.hangUp())
}

func callChatLimit(p *peer) error {
	request := func(length int) message {
		return p.test("EchoRequest").set("payload", make([]byte, length))
	}
	length := fit(func(payload int) proto.Message { return request(payload) })
	chat, err := p.chat(background)
	if err != nil {
		return err
	}
	if err := chat.SendMsg(request(length)); err != nil {
		return err
	}
	reply, err := chat.receive()
	if err != nil {
		return err
	}
	if err := equal("the length", len(reply.bytes("payload")), length); err != nil {
		return err
	}
	var oversized *ttrpc.OversizedMessageErr
	if err := chat.SendMsg(request(length + 1)); !errors.As(err, &oversized) {
		return fmt.Errorf("expected the client to refuse a longer message, got %v", err)
	}
	return errors.Join(chat.say("short"), chat.hangUp(), p.alive())
}

func callStreamFails(p *peer) error {
	chat, err := p.chat(background)
	if err != nil {
		return err
	}
	if err := chat.say("before"); err != nil {
		return err
	}
	if err := chat.send("fail"); err != nil {
		return err
	}
	_, err = chat.receive()
	return errors.Join(failed(err, codes.FailedPrecondition, "asked to fail"), p.alive())
}

// Go tells the server nothing of a cancelled stream: it has to live with one that stays open.
func callStreamCancel(p *peer) error {
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	chat, err := p.chat(ctx)
	if err != nil {
		return err
	}
	if err := chat.say("before"); err != nil {
		return err
	}
	cancel()
	if _, err := chat.receive(); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("expected the stream to be cancelled, got %v", err)
	}
	return p.alive()
}

func callStreamUnknown(p *peer) error {
	receive := func(service, method string, client bool, request any) error {
		description := &ttrpc.StreamDesc{StreamingClient: client, StreamingServer: true}
		stream, err := p.client.NewStream(background, description, service, method, request)
		if err != nil {
			return err
		}
		return stream.RecvMsg(new(emptypb.Empty))
	}
	nothing := new(emptypb.Empty)
	return errors.Join(
		failed(receive("no.Such", "A", false, nothing), codes.Unimplemented, "service no.Such"),
		failed(receive(testService, "Missing", true, nil), codes.Unimplemented, "method Missing"),
		p.alive(),
	)
}

func callStreamsConcurrent(p *peer) error {
	chats := make([]*chat, 20)
	for i := range chats {
		var err error
		if chats[i], err = p.chat(background); err != nil {
			return err
		}
	}
	for round := 0; round < 10; round++ {
		for i, chat := range chats {
			if err := chat.say(fmt.Sprintf("chat %d, round %d", i, round)); err != nil {
				return err
			}
		}
		if err := p.alive(); err != nil {
			return err
		}
	}
	for _, chat := range chats {
		if err := chat.hangUp(); err != nil {
			return err
		}
	}
	return nil
}

// The server starts to shut down when it is asked to, by a text.
func callStreamWhileDraining(p *peer) error {
	chat, err := p.chat(background)
	if err != nil {
		return err
	}
	if err := chat.say("before"); err != nil {
		return err
	}
	if _, err := p.echo(background, "shut down"); err != nil {
		return err
	}
	if err := chat.say("while"); err != nil {
		return err
	}
	_, err = p.echo(background, "new")
	if err := failed(err, codes.Unavailable, "server is shutting down"); err != nil {
		return err
	}
	if err := chat.hangUp(); err != nil {
		return err
	}
	return p.client.UserOnCloseWait(background)
}

func callStreamUntilKilled(p *peer) error {
	chat, err := p.chat(background)
	if err != nil {
		return err
	}
	if err := chat.say("kill me"); err != nil {
		return err
	}
	_, err = chat.receive()
	return fmt.Errorf("expected to be killed before the stream ends with %v", err)
}

// The rest asserts what containerd/ttrpc's integration tests do.

func streamingEcho(p *peer) error {
	sent := &streaming.EchoPayload{Seq: 1, Msg: "Echo Me"}
	received, err := p.streaming().Echo(background, sent)
	if err != nil {
		return err
	}
	return follows(sent, received)
}

func follows(sent, received *streaming.EchoPayload) error {
	return errors.Join(
		equal("msg", received.Msg, sent.Msg),
		equal("seq", received.Seq, sent.Seq+1),
	)
}

func streamingEchoStream(p *peer) error {
	stream, err := p.streaming().EchoStream(background)
	if err != nil {
		return err
	}
	for seq := uint32(0); seq < 100; seq += 2 {
		sent := &streaming.EchoPayload{Seq: seq, Msg: fmt.Sprintf("%d: Echo in a stream", seq)}
		if err := stream.Send(sent); err != nil {
			return err
		}
		received, err := stream.Recv()
		if err != nil {
			return err
		}
		if err := follows(sent, received); err != nil {
			return err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	_, err = stream.Recv()
	return errors.Join(ended(err), p.alive())
}

func streamingSumStream(p *peer) error {
	stream, err := p.streaming().SumStream(background)
	if err != nil {
		return err
	}
	expected := new(streaming.Sum)
	send := func(add int32) error {
		expected.Sum += add
		expected.Num++
		return stream.Send(&streaming.Part{Add: add})
	}
	// The first and the last are empty messages, and so is the one in the middle.
	if err := send(0); err != nil {
		return err
	}
	for add := int32(-99); add <= 100; add++ {
		if err := send(add); err != nil {
			return err
		}
	}
	if err := send(0); err != nil {
		return err
	}
	sum, err := stream.CloseAndRecv()
	if err != nil {
		return err
	}
	return errors.Join(same(sum, expected), p.alive())
}

func same(actual, expected *streaming.Sum) error {
	return errors.Join(
		equal("sum", actual.Sum, expected.Sum),
		equal("num", actual.Num, expected.Num),
	)
}

func streamingDivideStream(p *peer) error {
	whole := &streaming.Sum{Sum: 392, Num: 30}
	stream, err := p.streaming().DivideStream(background, whole)
	if err != nil {
		return err
	}
	total := new(streaming.Sum)
	err = each(stream.Recv, func(part *streaming.Part) error {
		total.Sum += part.Add
		total.Num++
		return nil
	})
	return errors.Join(err, same(total, whole), p.alive())
}

func sendNulls(send func(*streaming.EchoPayload) error) error {
	for seq := uint32(0); seq < 100; seq++ {
		if err := send(&streaming.EchoPayload{Seq: seq, Msg: nullText}); err != nil {
			return err
		}
	}
	return nil
}

func streamingEchoNull(p *peer) error {
	stream, err := p.streaming().EchoNull(background)
	if err != nil {
		return err
	}
	if err := sendNulls(stream.Send); err != nil {
		return err
	}
	_, err = stream.CloseAndRecv()
	return errors.Join(err, p.alive())
}

func streamingEchoNullStream(p *peer) error {
	stream, err := p.streaming().EchoNullStream(background)
	if err != nil {
		return err
	}
	received := 0
	done := make(chan error, 1)
	go func() {
		done <- each(stream.Recv, func(*emptypb.Empty) error {
			received++
			return nil
		})
	}()
	if err := sendNulls(stream.Send); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if err := <-done; err != nil {
		return err
	}
	return errors.Join(equal("the number of messages", received, 100*nullsPerMessage), p.alive())
}

func streamingEmptyPayloadStream(p *peer) error {
	// Neither nil nor an empty message has any bytes to send; both are one message.
	for _, request := range []*emptypb.Empty{nil, new(emptypb.Empty)} {
		stream, err := p.streaming().EmptyPayloadStream(background, request)
		if err != nil {
			return err
		}
		for seq := uint32(1); seq <= 2; seq++ {
			received, err := stream.Recv()
			if err != nil {
				return err
			}
			if err := equal("seq", received.Seq, seq); err != nil {
				return err
			}
		}
		_, err = stream.Recv()
		if err := ended(err); err != nil {
			return err
		}
	}
	return p.alive()
}
