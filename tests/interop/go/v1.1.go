//go:build ttrpc1.1

package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/containerd/ttrpc"
	"github.com/gogo/protobuf/proto"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"
)

// encodable is what this version of ttrpc encodes.
type encodable = proto.Message

func size(message encodable) int { return proto.Size(message) }

func register(server *ttrpc.Server, schema *schema) {
	server.Register(testService, (&tests{schema}).unary())
	registerGreeter(server, schema)
}

func describe() error {
	return errors.New("ttrpc 1.1 has no streams")
}

// casesOfVersion are the cases of ttrpc 1.1.
var casesOfVersion = map[string]func(*peer) error{
	"error-with-details":   callFail,
	"request-limit":        callRequestLimit,
	"reply-over-own-limit": callReplyOverOwnLimit,
}

// A known defect: this process dies of an error with details, because gogo/protobuf, with which
// ttrpc 1.1 decodes, cannot decode the google.protobuf.Any that ttrpc's own go.mod leads to.
func callFail(p *peer) error {
	err := p.fail(&spb.Status{
		Code:    int32(codes.NotFound),
		Message: "no such task",
		Details: []*anypb.Any{{TypeUrl: "a/b.C", Value: []byte{8, 3}}},
	})
	return expectDeath(err)
}

// ttrpc 1.1 has no limit for what it sends, so that it is for the server to refuse.
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
		encoded, _ := request.set("payload", make([]byte, payload)).Marshal()
		return &ttrpc.Request{Service: testService, Method: "Echo", Payload: encoded}
	})
	return first(
		send(length),
		failed(send(length+1), codes.ResourceExhausted, tooLong),
		p.alive(),
	)
}

// The server has a higher limit here. A known defect: this process dies of it.
func callReplyOverOwnLimit(p *peer) error {
	_, err := p.produce(p.longestReply() + 1)
	return expectDeath(err)
}

// expectDeath waits for the panic of another goroutine, which ends the call a moment before it ends
// the process.
func expectDeath(err error) error {
	time.Sleep(10 * time.Second)
	return fmt.Errorf("expected to be dead, but the call ended with %v", err)
}
