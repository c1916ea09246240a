//go:build !ttrpc1.1

package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/containerd/ttrpc"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// encodable is what this version of ttrpc encodes.
type encodable = proto.Message

func size(message encodable) int { return proto.Size(message) }

func callFail(p *peer) error {
	detail, err := anypb.New(durationpb.New(3 * time.Second))
	if err != nil {
		return err
	}
	asked := &spb.Status{
		Code:    int32(codes.NotFound),
		Message: "no such task: größer",
		Details: []*anypb.Any{detail},
	}
	err = p.fail(asked)
	if err := failed(err, codes.NotFound, asked.Message); err != nil {
		return err
	}
	received := status.Convert(err)
	if !proto.Equal(received.Proto(), asked) {
		return fmt.Errorf("expected %v, got %v", asked, received.Proto())
	}
	duration, ok := received.Details()[0].(*durationpb.Duration)
	if !ok {
		return fmt.Errorf("the detail is %v", received.Details()[0])
	}
	return errors.Join(equal("the detail", duration.AsDuration(), 3*time.Second), p.alive())
}

func callRequestLimit(p *peer) error {
	request := p.test("EchoRequest")
	send := func(payload int) error {
		request.set("payload", make([]byte, payload))
		reply := p.test("EchoResponse")
		if err := p.client.Call(background, testService, "Echo", request, reply); err != nil {
			return err
		}
		return equal("the length", len(reply.bytes("payload")), payload)
	}
	length := fit(func(payload int) encodable {
		request.set("payload", make([]byte, payload))
		encoded, _ := proto.Marshal(request)
		return &ttrpc.Request{Service: testService, Method: "Echo", Payload: encoded}
	})
	if err := send(length); err != nil {
		return err
	}
	var oversized *ttrpc.OversizedMessageErr
	if err := send(length + 1); !errors.As(err, &oversized) {
		return fmt.Errorf("expected the client to refuse a longer request, got %v", err)
	}
	return errors.Join(equal("the length", oversized.RejectedLength(), messageLengthMax+1), p.alive())
}

// The server has a higher limit here, so that this client has to refuse what it is sent.
func callReplyOverOwnLimit(p *peer) error {
	_, err := p.produce(p.longestReply() + 1)
	return errors.Join(
		failed(err, codes.ResourceExhausted, tooLong),
		p.alive(),
	)
}

func callUntilKilled(p *peer) error {
	_, err := p.sleep(background, aMinute)
	return fmt.Errorf("expected to be killed before the call ends with %v", err)
}

func callUntilServerShuts(p *peer) error {
	_, err := p.sleep(background, aMinute)
	return failed(err, codes.Unavailable, "server is shutting down")
}

func callUntilServerCloses(p *peer) error {
	_, err := p.sleep(background, aMinute)
	if !errors.Is(err, ttrpc.ErrClosed) {
		return fmt.Errorf("expected %v, got %v", ttrpc.ErrClosed, err)
	}
	return nil
}

// The server starts to shut down when it is asked to, by a text.
func callServerShutsWhenIdle(p *peer) error {
	if err := p.alive(); err != nil {
		return err
	}
	// This is asked on another connection, because Go may lose the answer: dispatch() picks at
	// random from an answer and the end of the connection if it finds both.
	other, err := dial(p.address, p.schema)
	if err != nil {
		return err
	}
	defer other.client.Close()
	_, _ = other.echo(background, "shut down")
	if err := p.client.UserOnCloseWait(background); err != nil {
		return err
	}
	if _, err := p.echo(background, "anybody?"); !errors.Is(err, ttrpc.ErrClosed) {
		return fmt.Errorf("expected %v, got %v", ttrpc.ErrClosed, err)
	}
	return nil
}
